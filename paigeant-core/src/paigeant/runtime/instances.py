"""What belongs to an object that is not ours: kept beside it, for as long as it lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerInstance(Generic[T]):
    """One value for each object, by identity: it need not be hashable, and equal objects are still two.

    :param make: makes the value of an object at its first use.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, tuple[weakref.ref[object], T]] = {}

    def of(self, instance: object) -> T:
        """The value of ``instance``."""
        key = id(instance)
        if key not in self._values:
            gone = weakref.ref(instance, lambda _: self._values.pop(key, None))
            self._values[key] = gone, self._make()
        return self._values[key][1]
