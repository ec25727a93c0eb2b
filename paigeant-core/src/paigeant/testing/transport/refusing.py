"""Arguments that make no sense."""

from __future__ import annotations

import asyncio
from math import inf, nan

from ...errors import ConfigurationError
from ..kit import conformance
from ..rules import refuses
from .rig import LONG, Rig, TransportCases

_SENSELESS = (0.0, -1.0, inf, nan)


class Refusing(TransportCases):
    """T21 and T24, of what a caller may not ask for."""

    @conformance()
    async def test_T21_consume_refuses_what_makes_no_sense(self, rig: Rig) -> None:
        transport = await rig.open()
        senseless: list[tuple[list[str], float, float | None]] = [
            ([], LONG, None),
            *((["work"], lease, None) for lease in _SENSELESS),
            *((["work"], LONG, expires) for expires in _SENSELESS),
        ]
        for queues, lease, expires in senseless:
            what = f"consume({queues}, lease={lease}, expires={expires})"
            with refuses(ConfigurationError, "T21", what, "begin with paigeant.abc.check_consume"):
                async with transport.consume(queues, lease=lease, expires=expires):
                    pass

    @conformance()
    async def test_T24_receive_refuses_a_limit_below_1(self, rig: Rig) -> None:
        transport = await rig.open()
        async with transport.consume(["work"], lease=LONG) as consumer:
            for limit in (0, -1):
                with refuses(ConfigurationError, "T24", f"receive({limit})", "begin with paigeant.abc.check_limit"):
                    await asyncio.wait_for(consumer.receive(limit), rig.patience)
