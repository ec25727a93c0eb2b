"""A worker process and its signals."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from paigeant import ActivitySpec, activity

from ..support import Bed

SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from paigeant import Worker, activity
    from paigeant.builtin.sqlite.transport import SqliteTransport

    here = Path(sys.argv[1])

    @activity
    def held(seconds: float) -> str:
        (here / "started").touch()
        time.sleep(seconds)
        (here / "finished").touch()
        return "by the process"

    Worker(SqliteTransport(here / "queues.db"), [held], grace=float(sys.argv[2])).run_sync()
    """
)


async def serve(directory: Path, grace: float) -> asyncio.subprocess.Process:
    script = directory / "serve.py"
    script.write_text(SCRIPT)
    return await asyncio.create_subprocess_exec(sys.executable, str(script), str(directory), str(grace))


async def started(directory: Path) -> None:
    async with asyncio.timeout(20):
        while not (directory / "started").exists():
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_sigterm_lets_running_activities_finish(tmp_path: Path) -> None:
    async with Bed("sqlite", "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("held", {"seconds": 1.0})])
        process = await serve(tmp_path, grace=30.0)
        try:
            await started(tmp_path)
            process.terminate()
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (await bed.outcome(workflow)).results == {"held": "by the process"}


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once_although_a_thread_hangs(tmp_path: Path, second: signal.Signals) -> None:
    @activity
    def held(seconds: float) -> str:
        return "by another"

    async with Bed("sqlite", "shared", tmp_path) as bed:
        workflow = await bed.dispatch([ActivitySpec("held", {"seconds": 3600.0})])
        process = await serve(tmp_path, grace=3600.0)
        try:
            await started(tmp_path)
            process.terminate()
            await asyncio.sleep(0.2)  # two signals at one instant are one signal
            process.send_signal(second)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (await bed.transport.queues("held"))["held"].ready == 1
        async with bed.worker(held):
            assert (await bed.outcome(workflow)).results == {"held": "by another"}
    assert not (tmp_path / "finished").exists()
