"""How often a failed attempt is repeated, and after what delay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeGuard

from ..durations import seconds
from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Capped exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).

    Full jitter, because workers that failed together must not come back together.

    :param attempts: executions in all, 1 to 1000; 1 never repeats.
    :param first_delay: seconds (or a timedelta) before the second attempt, at most.
    :param max_delay: the cap of the delay, seconds or a timedelta.
    :param factor: growth of the delay per attempt, at least 1.
    :param jitter: draw the delay from 0 up to it; otherwise it is exactly that.
    :raises ConfigurationError: a value is out of range.
    """

    attempts: int = 3
    first_delay: float | timedelta = 1.0
    max_delay: float | timedelta = 60.0
    factor: float = 2.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or not 1 <= self.attempts <= 1000:
            raise ConfigurationError(f"RetryPolicy: attempts={self.attempts!r} must be a whole number from 1 to 1000")
        for name in ("first_delay", "max_delay"):
            object.__setattr__(self, name, _delay(name, getattr(self, name)))
        if not _is_number(self.factor) or self.factor < 1:
            raise ConfigurationError(f"RetryPolicy: factor={self.factor!r} must be a number of at least 1")

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after ``attempt`` (from 1) failed; ``random`` is from [0, 1)."""
        first, cap = float(self.first_delay), float(self.max_delay)  # type: ignore[arg-type]
        try:
            longest = min(cap, first * self.factor ** (attempt - 1))
        except OverflowError:
            longest = cap if first else 0.0
        return longest * random if self.jitter else longest


def _delay(name: str, value: object) -> float:
    delay = seconds(value)
    if not _is_number(delay) or delay < 0:
        raise ConfigurationError(f"RetryPolicy: {name}={value!r} must be seconds, or a timedelta, of at least 0")
    return float(delay)


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number (NaN fails every comparison)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e300
