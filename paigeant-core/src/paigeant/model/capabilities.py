"""What a backend can do, as data: read by the core at run time and by the conformance kit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Declared by each transport and state store; everything defaults to "cannot".

    A declared capability that fails is a failure of the conformance kit, never a skip.

    :param durable: what was awaited survives the death of every process (and, if the backend says
        so in its documentation, of the machine).
    :param atomic_settle: publications and the acknowledgement of ``settle`` are one act.
    :param atomic_writes: store writes ride along with ``publish`` and ``settle`` in that act.
    :param renewable: leases are extended by ``renew``; otherwise the lease is the connection.
    :param counts_deliveries: ``Delivery.deliveries`` is known and survives crashes.
    :param max_delay: longest ``Publication.delay`` in seconds; ``None`` is no limit, 0 none at all.
    :param max_message: largest body in bytes; ``None`` is no limit of its own.
    :param dedup_window: seconds in which a second message of the same id to a queue is dropped.
    :param persistent_queues: several processes or instances see the same data.
    """

    durable: bool = False
    atomic_settle: bool = False
    atomic_writes: bool = False
    renewable: bool = False
    counts_deliveries: bool = False
    max_delay: float | None = 0.0
    max_message: int | None = None
    dedup_window: float = 0.0
    persistent_queues: bool = False
