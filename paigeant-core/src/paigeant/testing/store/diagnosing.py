"""What a store says of itself."""

from __future__ import annotations

from ..findings import check_closed, check_findings
from ..kit import conformance
from ..rules import check
from .rig import Rig, StoreCases


class Diagnosing(StoreCases):
    """T44."""

    @conformance()
    async def test_T44_diagnose_gives_findings(self, rig: Rig) -> None:
        store = await rig.open()
        check_findings(await store.diagnose())
        check_findings(await store.diagnose())

    @conformance()
    async def test_T44_diagnose_reads_only(self, rig: Rig) -> None:
        store = await rig.open()
        await store.put("a/1", b"one", due=5.0)
        await store.put("b/1", b"two", due=6.0)
        before = [await store.get("a/1"), await store.get("b/1"), await store.scan(""), await store.due(1e9)]
        await store.diagnose()
        after = [await store.get("a/1"), await store.get("b/1"), await store.scan(""), await store.due(1e9)]
        check(before == after, "T44", f"entries before diagnose(): {before}; after: {after}", "write nothing")

    @conformance()
    async def test_T44_diagnose_needs_a_connection(self, rig: Rig) -> None:
        store = rig.make()
        await check_closed(store.diagnose, "before connect")
        await store.connect()
        await store.disconnect()
        await check_closed(store.diagnose, "after disconnect")
