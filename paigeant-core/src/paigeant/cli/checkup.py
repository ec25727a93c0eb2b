"""What ``paigeant doctor`` looks at: settings, transport, store, clock, keys, limits. It opens what a worker opens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import PaigeantError
from ..model.finding import Finding, Severity
from ..runtime.environment import PAIRING, WITHOUT, check_pairing
from .keycheck import check_keys

if TYPE_CHECKING:
    from ..abc import StateStore, Transport
    from ..plugins.registry import PluginRegistry

T = TypeVar("T")

PATIENCE: Final = 15.0
"""Seconds that each part has to answer."""
_SMALL_SKEW, _LARGE_SKEW = 1.0, 30.0
"""Seconds between this clock and the store's: not worth a word; too many."""


@dataclass
class Checkup:
    """Collects findings; a part that fails is a finding, too, and the others are still looked at."""

    transport_name: str | None
    namespace: str | None
    patience: float = PATIENCE
    findings: list[Finding] = field(default_factory=list[Finding])
    facts: dict[str, object] = field(default_factory=dict[str, object])

    async def run(self) -> None:
        """Look at everything."""
        async with AsyncExitStack() as stack:
            if (registry := await self.attempt("settings", _read_settings)) is None:
                return
            await self.attempt("serializers", _call(registry.serializers))
            await self.attempt("observers", _call(registry.observers))
            transport = await self.open_transport(stack, registry)
            store, mode = await self.open_store(stack, registry, transport)
            if store is not None:
                await self.check_clock(store, used=mode != "none")
            if transport is not None:
                await self.attempt("keys", lambda: self.look_at_keys(transport, registry, mode))
                self.add(check_limits(transport, registry.settings.max_message_bytes, mode))

    def add(self, *findings: Finding) -> None:
        """Note findings."""
        self.findings += findings

    async def attempt(self, subject: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """What ``call`` returns; its failure is a finding, and ``None``."""
        try:
            async with asyncio.timeout(self.patience):
                return await call()
        except TimeoutError:
            remedy = "check that its host and port are right, and that nothing between here and there drops packets"
            self.add(Finding(Severity.PROBLEM, subject, f"no answer within {self.patience:g} s", remedy))
        except PaigeantError as exc:
            message, _, remedy = str(exc).partition("; ")
            self.add(Finding(Severity.PROBLEM, subject, message or type(exc).__name__, remedy))
        except Exception as exc:  # of a plugin: the doctor must not be among the sick
            text = f"an error that should not leave its plugin: {type(exc).__name__}: {exc}"
            self.add(Finding(Severity.PROBLEM, subject, text, "report it to the author of the plugin"))
        return None

    async def open_transport(self, stack: AsyncExitStack, registry: PluginRegistry) -> Transport | None:
        """The transport, connected, with what it says of itself."""
        name = _shown(self.transport_name or registry.settings.transport)
        self.facts["transport"] = name
        made = await self.attempt(
            f"transport {name}", _call(lambda: registry.transport(self.transport_name, namespace=self.namespace))
        )
        if made is None:
            return None
        self.facts |= {"namespace": made.namespace, "location": made.location}
        began = time.monotonic()
        if await self.attempt(f"transport {name}", lambda: stack.enter_async_context(made)) is None:
            return None
        place = f" at {made.location}" if made.location else ""
        took = (time.monotonic() - began) * 1000
        self.add(Finding(Severity.OK, f"transport {name}", f"reached{place} in {took:.0f} ms"))
        self.facts["location"] = made.location
        self.add(*(await self.attempt(f"transport {name}", made.diagnose) or ()))
        return made

    async def open_store(
        self, stack: AsyncExitStack, registry: PluginRegistry, transport: Transport | None
    ) -> tuple[StateStore | None, str]:
        """The store whose clock can be asked, and how workflows use it: shared, separate or none."""
        own = transport.state_store() if transport is not None else None
        configured = registry.settings.state_store
        if configured is not None and configured != "none":
            return await self.open_configured(stack, registry, configured, transport)
        if transport is None:
            return None, "none"
        if configured == "none" or own is None:
            self.add(_no_store(chosen=configured == "none"))
            return own, self.note_mode("none", "none")
        mode = "shared" if transport.capabilities.atomic_writes else "separate"
        self.add(*_unsaid(self.findings, await self.attempt("store", own.diagnose) or ()))
        self.note_mode("the transport's own", mode)
        self.add(_mode(mode, "the transport's own"))
        return own, mode

    async def open_configured(
        self, stack: AsyncExitStack, registry: PluginRegistry, configured: str, transport: Transport | None
    ) -> tuple[StateStore | None, str]:
        """The store that ``PAIGEANT_STATE_STORE`` names."""
        name = _shown(configured)
        subject = f"store {name}"
        namespace = transport.namespace if transport is not None else self.namespace
        made = await self.attempt(subject, _call(lambda: registry.state_store(configured, namespace=namespace)))
        opened = made and await self.attempt(subject, lambda: stack.enter_async_context(made))
        self.note_mode(name, "separate")
        if opened is None:
            return None, "separate"
        if transport is not None:
            await self.attempt(subject, _call(lambda: check_pairing(transport, opened)))
        self.add(Finding(Severity.OK, subject, "reached"), _mode("separate", name))
        told = await self.attempt(subject, opened.diagnose) or ()
        self.add(*(Finding(one.severity, f"store {one.subject}", one.message, one.remedy) for one in told))
        return opened, "separate"

    def note_mode(self, store: str, mode: str) -> str:
        """Keep for the JSON which store is in use, and how."""
        self.facts |= {"store": store, "mode": mode}
        return mode

    async def check_clock(self, store: StateStore, *, used: bool) -> None:
        """How far this machine's clock is from the store's."""
        before = time.time()
        told = await self.attempt("clock skew", store.now)
        after = time.time()
        if told is not None:
            judged = judge_skew((before + after) / 2 - told, (after - before) / 2, used=used)
            self.add(*_unsaid(self.findings, [judged]))  # some backends look at their clock themselves

    async def look_at_keys(self, transport: Transport, registry: PluginRegistry, mode: str) -> None:
        """Whether this process can sign, and verify what it signs."""
        self.add(*await check_keys(transport, registry, mode))


def judge_skew(skew: float, error: float, *, used: bool) -> Finding:
    """What a difference of clocks means.

    :param skew: seconds that this machine is ahead of the store.
    :param error: seconds by which ``skew`` may be wrong.
    :param used: workflows use the store, and with it its clock; otherwise each machine uses its own.
    """
    off = max(0.0, abs(skew) - error)
    if off <= _SMALL_SKEW:
        return Finding(Severity.OK, "clock skew", f"this clock and the store's differ by {abs(skew):.1f} s")
    which = "ahead of" if skew > 0 else "behind"
    text = f"this clock is {abs(skew):.1f} s {which} the store's; "
    remedy = "synchronise the clocks of all machines (NTP)"
    if used:
        text += "leases and expiry go by the store's, but logs, tokens and what activities read by this one"
        return Finding(Severity.NOTE if off <= _LARGE_SKEW else Severity.WARNING, "clock skew", text, remedy)
    text += "without a store each machine goes by its own, and refuses messages from more than 60 s ahead"
    return Finding(Severity.WARNING if off <= _LARGE_SKEW else Severity.PROBLEM, "clock skew", text, remedy)


def check_limits(transport: Transport, largest: int, mode: str) -> Finding:
    """How large a message and how long a delay may be."""
    able = transport.capabilities
    limit = min(largest, able.max_message or largest)
    by = "PAIGEANT_MAX_MESSAGE_BYTES" if limit == largest else "the transport"
    delay = "of any length" if able.max_delay is None else f"up to {able.max_delay:g} s"
    if able.max_delay == 0.0:
        delay = "by the store alone" if mode != "none" else "of no length: retries come at once"
    text = f"messages up to {limit} bytes (by {by}); delays {delay}"
    return Finding(Severity.OK if limit == largest else Severity.NOTE, "limits", text)


def _no_store(*, chosen: bool) -> Finding:
    if chosen:
        return Finding(Severity.NOTE, "store", f"none, as configured; {WITHOUT}")
    return Finding(Severity.WARNING, "store", f"this transport brings none, and none is set; {WITHOUT}", PAIRING)


def _mode(mode: str, store: str) -> Finding:
    text = (
        "shared mode: state, successor and acknowledgement are one act of the backend"
        if mode == "shared"
        else "separate mode: a step is claimed in the store, acknowledged, and runs under the store's lease"
    )
    return Finding(Severity.OK, "store", f"{store}; {text}")


def _unsaid(before: Sequence[Finding], told: Sequence[Finding]) -> list[Finding]:
    """What was not said before, of the same subject and severity: by a transport of its own store, say."""
    said = {(one.severity, one.subject) for one in before}
    return [one for one in told if (one.severity, one.subject) not in said]


def _shown(reference: str) -> str:
    """A reference without what may be secret in it."""
    scheme, separator, _ = reference.partition("://")
    return f"{scheme}://" if separator else reference


def _call(call: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def perform() -> T:
        return call()

    return perform


async def _read_settings() -> PluginRegistry:
    from ..plugins.registry import PluginRegistry

    return PluginRegistry()
