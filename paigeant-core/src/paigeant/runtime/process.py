"""What a process that does nothing but serve activities may do to its interpreter."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

THRESHOLDS = (20_000, 20, 50)


@contextmanager
def long_running() -> Generator[None]:
    """Let the garbage collector look less often, and never again at what was loaded before.

    A hop makes hundreds of short-lived objects and no cycles; at the default thresholds looking for
    cycles takes a fifth of a worker's CPU. Only for whoever owns the process: it changes all of it.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
