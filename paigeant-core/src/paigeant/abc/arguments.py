"""What every transport checks of its arguments, in the same words."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from ..errors import ConfigurationError


def check_consume(queues: Collection[str], lease: float, expires: float | None) -> list[str]:
    """The queues, each once, if ``Transport.consume`` can do with these arguments (T21).

    :raises ConfigurationError: no queue, or a ``lease`` or ``expires`` that is no positive, finite number of seconds.
    """
    if not queues:
        raise ConfigurationError("consume needs a queue: name at least one")
    spans = {"lease": lease} if expires is None else {"lease": lease, "expires": expires}
    for name, value in spans.items():
        if not 0 < value < inf:  # nor is NaN
            raise ConfigurationError(f"consume: {name} must be a positive, finite number of seconds, not {value!r}")
    return list(dict.fromkeys(queues))


def check_limit(limit: int) -> None:
    """Whether ``Consumer.receive`` can do with it (T24).

    :raises ConfigurationError: it is below 1.
    """
    if limit < 1:
        raise ConfigurationError(f"receive needs a limit of at least 1, not {limit!r}")
