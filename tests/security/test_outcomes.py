"""What a client says of an end is what was signed, whoever can write to the store or to the reply queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from paigeant import ActivityContext, activity
from paigeant.errors import AudienceMismatch
from paigeant.model.store import Entry
from paigeant.state.cursor import Cursor
from paigeant.state.ids import BranchKeys

from ..support import STORED, Bed, Mode


@activity
async def price(ctx: ActivityContext, amount: int) -> int:
    ctx.variables["limit"] = 100
    return amount


async def kept(bed: Bed, workflow: str) -> Entry:
    """The final envelope in the store."""
    keys = BranchKeys.of(workflow)
    cursor = await bed.state.get(keys.cursor)
    assert cursor is not None
    result = await bed.state.get(keys.result(Cursor.decode(cursor.value).nonce))
    assert result is not None
    return result


@pytest.mark.parametrize("mode", STORED)
async def test_the_outcome_of_another_workflow_is_refused(mode: Mode, tmp_path: Path) -> None:
    async with Bed("inmemory", mode, tmp_path) as bed:
        for workflow, amount in (("asked", 1), ("other", 999)):
            await bed.run([price.spec(amount=amount)], price, correlation_id=workflow)
        await bed.state.put((await kept(bed, "asked")).key, (await kept(bed, "other")).value)
        with pytest.raises(AudienceMismatch, match=r"'asked' is signed for 'other'; find out who"):
            await bed.outcome("asked")
        assert (await bed.outcome("other")).results == {"price": 999}
