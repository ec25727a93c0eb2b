"""Reading, and writing under a condition."""

from __future__ import annotations

import asyncio

from ...errors import RevisionConflict
from ...model.store import ABSENT, KEEP, Expected
from ..kit import conformance
from ..rules import check, refuses
from .rig import Rig, StoreCases

_CHECK = "compare the revision in the act that writes"
_RIVALS = 10


class Revisions(StoreCases):
    """S11, S13 to S15, S17."""

    @conformance()
    async def test_S11_every_instance_sees_the_last_write(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        check(await first.get("a") is None, "S11", "an entry nobody wrote", "return None for a missing key")
        for n in range(50):
            revision = await (second if n % 3 else first).put("a", str(n).encode())
            for reader in (first, second):
                entry = await reader.get("a")
                check(
                    entry and (entry.value, entry.revision) == (str(n).encode(), revision),
                    "S11",
                    f"one instance wrote {n} as revision {revision}, then another read {entry}",
                    "read from the primary, and cache nothing",
                )
        await first.delete("a")
        check(await second.get("a") is None, "S11", "a deleted entry is still read", "read from the primary")

    @conformance()
    async def test_S13_a_put_meets_what_it_expects(self, rig: Rig) -> None:
        store = await rig.open()
        with refuses(RevisionConflict, "S13", "put expecting revision 1 of a missing key", _CHECK):
            await store.put("a", b"x", expected=1)
        check(await store.get("a") is None, "S13", "a refused put wrote", _CHECK)
        first = await store.put("a", b"one", expected=ABSENT)
        second = await store.put("a", b"two", expected=first)
        wrong: list[Expected] = [ABSENT, first, second + 1, 0, -1]
        for expected in wrong:
            with refuses(RevisionConflict, "S13", f"put expecting {expected} where revision {second} is", _CHECK):
                await store.put("a", b"x", expected=expected, due=1.0)
        entry = await store.get("a")
        check(
            entry and (entry.value, entry.revision, entry.due) == (b"two", second, None),
            "S13",
            f"after refused puts: {entry}",
            _CHECK,
        )
        await store.put("a", b"three")
        check(await store.get("a"), "S13", "a put expecting anything failed", "write unconditionally for ANY")

    @conformance()
    async def test_S13_the_conflict_tells_what_was_found(self, rig: Rig) -> None:
        store = await rig.open()
        revision = await store.put("a", b"one")
        try:
            await store.put("a", b"two", expected=ABSENT)
        except RevisionConflict as exc:
            check(
                (exc.key, exc.found) == ("a", revision),
                "S13",
                f"the error names key {exc.key!r} and revision {exc.found}",
                "raise RevisionConflict(key, expected=..., found=...)",
            )

    @conformance()
    async def test_S13_of_rivals_one_wins(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        for expected in (ABSENT, await first.put("b", b"start")):
            key = "a" if expected is ABSENT else "b"
            writers = [first if n % 2 else second for n in range(_RIVALS)]
            puts = [w.put(key, str(n).encode(), expected=expected) for n, w in enumerate(writers)]
            ends = await asyncio.gather(*puts, return_exceptions=True)
            won = [end for end in ends if isinstance(end, int)]
            wrong = [end for end in ends if not isinstance(end, (int, RevisionConflict))]
            check(not wrong, "S13", f"rivals raised {wrong}", "raise RevisionConflict for each that is late")
            check(len(won) == 1, "S13", f"{len(won)} of {_RIVALS} rivals expecting {expected} won", _CHECK)
            entry = await first.get(key)
            check(
                entry and (entry.value, entry.revision) == (str(ends.index(won[0])).encode(), won[0]),
                "S13",
                f"the winner wrote revision {won[0]}; then {entry}",
                _CHECK,
            )

    @conformance()
    async def test_S14_revisions_rise(self, rig: Rig) -> None:
        first = await rig.open()
        second = await rig.clone(first)
        revisions = [await store.put("a", b"same") for store in (first, second, first, first, second)]
        revisions.append(await first.put("a", KEEP, due=1.0))
        check(
            revisions == sorted(set(revisions)) and min(revisions) > 0,
            "S14",
            f"the revisions of successive puts are {revisions}",
            "take them from a counter that every put moves",
        )

    @conformance()
    async def test_S14_delete_forgets_no_revision(self, rig: Rig) -> None:
        store = await rig.open()
        before = [await store.put("a", b"one"), await store.put("a", b"two")]
        await store.delete("a")
        after = await store.put("a", b"three", expected=ABSENT)
        check(
            after > max(before),
            "S14",
            f"revisions {before}, deleted, then {after}",
            "count in the backend across keys, or keep the counter when deleting",
        )
        for stale in before:
            with refuses(RevisionConflict, "S14", f"put expecting revision {stale} from before delete", _CHECK):
                await store.put("a", b"x", expected=stale)

    @conformance()
    async def test_S15_keep_keeps_the_value(self, rig: Rig) -> None:
        store = await rig.open()
        with refuses(RevisionConflict, "S15", "KEEP on a missing key", "raise RevisionConflict"):
            await store.put("a", KEEP, due=1.0)
        check(await store.get("a") is None, "S15", "KEEP made an entry", "raise RevisionConflict")
        first = await store.put("a", b"one", due=1.0)
        second = await store.put("a", KEEP, due=2.0, expected=first)
        entry = await store.get("a")
        check(
            entry and (entry.value, entry.due) == (b"one", 2.0),
            "S15",
            f"put b'one' due 1, then KEEP due 2: {entry}",
            "change due and ttl only",
        )
        check(second > first, "S15", f"revision {first}, then {second}", "KEEP makes a new revision")
        with refuses(RevisionConflict, "S15", "KEEP expecting an old revision", _CHECK):
            await store.put("a", KEEP, expected=first)

    @conformance("S13")
    async def test_S17_delete_meets_what_it_expects(self, rig: Rig) -> None:
        store = await rig.open()
        await store.delete("a")
        await store.delete("a", expected=ABSENT)
        with refuses(RevisionConflict, "S17", "delete of a missing key expecting a revision", _CHECK):
            await store.delete("a", expected=1)
        revision = await store.put("a", b"one")
        wrong: list[Expected] = [ABSENT, revision + 1]
        for expected in wrong:
            with refuses(RevisionConflict, "S17", f"delete expecting {expected} where {revision} is", _CHECK):
                await store.delete("a", expected=expected)
        check(await store.get("a"), "S17", "a refused delete took effect", _CHECK)
        await store.delete("a", expected=revision)
        check(await store.get("a") is None, "S17", "the entry is still there", "delete it")
        check(await store.scan("a") == [], "S17", "scan still shows it", "delete it from every index")
        await store.put("a", b"two")
        await store.delete("a")
        check(await store.get("a") is None, "S17", "delete expecting anything did nothing", "delete it")
