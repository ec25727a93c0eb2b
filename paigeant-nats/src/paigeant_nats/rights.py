"""Which rights that a worker needs this user lacks: each is tried on something that is not there."""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.msg import Msg

from paigeant.model.finding import Finding, Severity

from .errors import RIGHTS
from .session import Session

_NOBODY = "PROBE"
"""No queue, key or stream is called so: ours are in small letters."""
_ELSEWHERE = {"Nats-Expected-Stream": _NOBODY}
_OPERATIONS = ("INFO", "DURABLE.CREATE", "DELETE", "MSG.NEXT")


async def queue_rights(session: Session) -> list[Finding]:
    """What this user may not do with queues."""
    api, names = session.api.prefix, session.names
    needed = {f"{names.prefix}.q.>": f"{_NOBODY}.1", f"$JS.ACK.{names.queues}.>": f"{_NOBODY}.1.1.1.1.1"}
    needed |= {f"{api}.CONSUMER.{operation}.{names.queues}.>": _NOBODY for operation in _OPERATIONS}
    if session.queue_features.schedules:
        needed[f"{names.prefix}.s.>"] = f"{_NOBODY}.1"
    return _told("queue rights", await _refused(session, names.queues, needed))


async def store_rights(session: Session) -> list[Finding]:
    """What this user may not do with the store."""
    api, names = session.api.prefix, session.names
    needed = {f"{names.prefix}.e.>": _NOBODY, f"{names.prefix}.d.>": f"1.1.{_NOBODY}"}
    needed |= {f"{api}.DIRECT.GET.{names.state}.>": names.entry(_NOBODY), f"{api}.STREAM.MSG.DELETE.{names.state}": ""}
    if not session.state_features.direct:
        needed[f"{api}.STREAM.MSG.GET.{names.state}"] = ""
    return _told("store rights", await _refused(session, names.state, needed, f"{names.prefix}.w.>"))


async def _refused(session: Session, stream: str, needed: Mapping[str, str], *heard: str) -> list[str]:
    """Uses all rights, and waits for the answer to what it may ask: until then the server told what it does not allow.

    Nothing comes of what it allows: requests are empty or for nobody, messages expect another stream.

    :param needed: what to publish to, with what is tried in the place of ``>``.
    :param heard: what to subscribe to.
    """
    link, denied = session.link, list[str]()
    link.on_denied.append(denied.append)
    try:
        tried = {right.removesuffix(">") + rest: f"publish to {right}" for right, rest in needed.items()}
        for subject in tried:
            await link.send(subject, b"", headers=_ELSEWHERE)
        for right in heard:
            subject = right.replace(">", _NOBODY)
            tried[subject] = f"subscribe to {right}"
            await link.unsubscribe(await link.subscribe(subject, _ignore))
        await session.api.find(f"STREAM.INFO.{stream}")
    finally:
        link.on_denied.remove(denied.append)
    return [right for subject, right in tried.items() if subject.lower() in denied]


def _ignore(_: Msg) -> None:
    """Nobody sends there."""


def _told(subject: str, refused: list[str]) -> list[Finding]:
    if not refused:
        return [Finding(Severity.OK, subject, "this user may do all that a worker does")]
    return [Finding(Severity.PROBLEM, subject, f"this user may not {right}", RIGHTS) for right in refused]
