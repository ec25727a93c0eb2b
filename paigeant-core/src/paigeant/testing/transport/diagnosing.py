"""What a transport says of itself."""

from __future__ import annotations

from ...abc.transport import Transport
from ..findings import check_closed, check_findings
from ..kit import conformance
from ..rules import check
from .rig import Rig, TransportCases, listed, publication


class Diagnosing(TransportCases):
    """T44."""

    @conformance()
    async def test_T44_diagnose_gives_findings(self, rig: Rig) -> None:
        transport = await rig.open()
        check_findings(await transport.diagnose())
        check_findings(await transport.diagnose())

    @conformance()
    async def test_T44_diagnose_reads_only(self, rig: Rig) -> None:
        transport = await rig.open()
        await transport.publish(*(publication(n) for n in range(3)))
        async with rig.receiving(transport) as receiver:
            await receiver.one("T11")

            async def counted() -> bool:
                return (await _counts(transport))["work"] in {(2, 1), (2, None)}

            await rig.until(counted)  # some backends count with a delay
            before = await _counts(transport)
            await transport.diagnose()
            await transport.diagnose()

            async def unchanged() -> bool:
                return await _counts(transport) == before

            check(
                await rig.until(unchanged),
                "T44",
                f"ready and leased before diagnose(): {before}; after: {await _counts(transport)}",
                "publish, declare, delete and receive nothing",
            )

    @conformance()
    async def test_T44_diagnose_needs_a_connection(self, rig: Rig) -> None:
        transport = rig.make()
        await check_closed(transport.diagnose, "before connect")
        await transport.connect()
        await transport.disconnect()
        await check_closed(transport.diagnose, "after disconnect")


async def _counts(transport: Transport) -> dict[str, tuple[int, int | None]]:
    found = {**(await listed(transport) or {}), **await transport.queues("work")}
    return {name: (stats.ready, stats.in_flight) for name, stats in found.items()}
