"""The dispatcher: from a list of activities to a signed, durable workflow."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from ..abc import StateStore
from ..durations import seconds
from ..envelope.frame import HEADERS
from ..envelope.sealing import content_digest, seal_origin
from ..errors import ConfigurationError, DuplicateWorkflow, InvalidWorkflow, MessageTooLarge, RevisionConflict
from ..model.events import WorkflowDispatched
from ..model.message import Message, Publication
from ..model.names import check_correlation_id, check_name
from ..model.records import RevisionGrant
from ..model.store import ABSENT, Write
from ..routing.itinerary import ActivitySpec, build_steps, check_records
from ..state.cursor import Cursor, State
from ..state.ids import BranchKeys
from ..state.transitions import Outgoing
from .binding import plain
from .environment import Environment, Face
from .inbox import Inbox
from .lifetime import lifetime
from .moving import make_move, publication
from .notifier import event_id
from .sealing import HOP_BYTES
from .values import Outbox

if TYPE_CHECKING:
    from ..envelope.opening import Opened


@dataclass(frozen=True)
class RevisionPolicy:
    """What activities may do to the rest of the itinerary while it runs; without one, nothing.

    :param activities: names that may be added.
    :param max_steps: most steps the workflow may have in all, executed ones included.
    :param by: principals that may revise; default: whoever holds the namespace's key.
    """

    activities: Sequence[str]
    max_steps: int
    by: Sequence[str] = ()


class WorkflowDispatcher(Face):
    """Starts workflows. Connects its transport on first use, and as ``async with`` closes what it opened.

    :param transport: a transport that somebody else connected stays theirs.
    :param state_store: ``None`` is from configuration (the transport's own by default).
    :param security: ``None`` is from configuration.
    :param namespace: must be that of the transport; ``None`` takes it.
    :param observers: told of events, in addition to those of the configuration.
    :param clock: tells the time and waits; default that of the machine. Tests bring one of their own.
    """

    async def dispatch_workflow(
        self,
        activities: Sequence[ActivitySpec],
        *,
        variables: Mapping[str, Any] | None = None,
        obo_token: str | None = None,
        correlation_id: str | None = None,
        revisions: RevisionPolicy | None = None,
        expires: timedelta | float | None = None,
    ) -> str:
        """Start a workflow; durable (on a durable transport) once this returns.

        Idempotent by ``correlation_id``: the same content again is the same workflow.

        :param activities: the itinerary.
        :param variables: values for parameters that the itinerary does not name.
        :param obo_token: token of the user it runs for; refused while no on-behalf-of provider is configured.
        :param correlation_id: ``[A-Za-z0-9._-]{1,128}``; default a random UUID.
        :param revisions: what activities may change in the itinerary; default nothing.
        :param expires: a timedelta or seconds after which it ends as ``expired``; default from configuration (24 h).
            Its steps run for 60 s more, as clocks differ. With a state store any worker of the namespace ends it,
            though nobody serves its queue, at most five minutes later.
        :returns: the correlation id.
        :raises InvalidWorkflow, SerializationError, MessageTooLarge: the itinerary or a value is wrong, cannot be
            carried, or does not fit; nothing was published.
        :raises DuplicateWorkflow: the id is taken by other content.
        :raises ConfigurationError: a token, and no provider for it.
        :raises SignerUnavailable: it could not be signed; nothing was published.
        :raises BackendUnavailable: broker or store are out of reach or full; nothing was published. What may have
            been is settled before, however long that takes; without a store it is raised as ``OutcomeUnknown``.
        """
        _refuse(obo_token)
        env = await self._session.open()
        wf = check_correlation_id(correlation_id) if correlation_id is not None else str(uuid.uuid4())
        outbox = Outbox(env)
        opened, keys = await self._seal(env, wf, activities, _mapping(variables), revisions, expires, outbox)
        await self._send(env, opened, keys, outbox)
        await _tell(env, wf, keys, activities)
        return wf

    async def _seal(
        self,
        env: Environment,
        wf: str,
        activities: Sequence[ActivitySpec],
        variables: Mapping[str, Any],
        revisions: RevisionPolicy | None,
        expires: timedelta | float | None,
        outbox: Outbox,
    ) -> tuple[Opened, BranchKeys]:
        keys = BranchKeys.of(wf)
        steps = build_steps(activities, lambda value, what: outbox.add(plain(value, what), what))
        grant = None if revisions is None else _grant(revisions, env.security.issuer, len(steps))
        check_records(steps, grant, env.settings.max_records)
        iat = int(env.now())
        refs = {
            _variable(name): outbox.add(plain(value, f"variable {name!r}"), f"variable {name!r}")
            for name, value in variables.items()
        }
        opened = await seal_origin(
            wf=wf,
            steps=steps,
            variables=refs,
            blobs=outbox.blobs if env.store is None else outbox.without(outbox.aside()),
            security=env.security,
            iat=iat,
            exp=iat + _lifetime(expires, env.settings.workflow_ttl),
            reply_to=Inbox.of(env).address() if env.store is None else None,
            rev=grant,
        )
        _check_size(env, len(opened.body), len(steps) if grant is None else grant.max, activities, variables)
        return opened, keys

    async def _send(self, env: Environment, opened: Opened, keys: BranchKeys, outbox: Outbox) -> None:
        first = opened.slip.next
        assert first is not None
        data = opened.body
        if env.store is None:
            message = Message(keys.message_id(0, 0), data, HEADERS)
            sent = Publication(first.step.q, message)
            return await env.transport.publish(sent)
        origin = opened.slip.origin
        content = content_digest(origin)[:22]
        move = env.rules.start(
            head=opened.head, queue=first.step.q, body=data, content=content, exp=origin.exp, now=env.now()
        )
        ttl = lifetime(env, origin.exp)
        writes = [Write(keys.blob(digest), outbox.blobs[digest], ttl=ttl) for digest in outbox.aside()]
        try:
            return await make_move(env, env.store, keys, move, ABSENT, writes)
        except RevisionConflict:
            if await _same_again(env, env.store, keys, origin.wf, content):
                return None
        return await self._send(env, opened, keys, outbox)


def _refuse(obo_token: str | None) -> None:
    if obo_token is not None:
        raise ConfigurationError(
            "obo_token was given, but no on-behalf-of provider is configured; nothing was published. "
            "A token never travels in a message: leave it out, or configure a provider"
        )


async def _tell(env: Environment, wf: str, keys: BranchKeys, activities: Sequence[ActivitySpec]) -> None:
    if env.notifier:
        event = event_id(keys.hop_id(0), WorkflowDispatched, 0)
        names = tuple(spec.name for spec in activities)
        await env.notifier.tell(WorkflowDispatched(event, wf, env.now(), names))


async def _same_again(env: Environment, store: StateStore, keys: BranchKeys, wf: str, content: str) -> bool:
    """The id is taken: by the same content, then it is the same workflow; or by another.

    ``False``: it is free again, for the last trace of the old workflow has just expired.
    """
    entry = await store.get(keys.cursor)
    if entry is None:
        return False
    cursor = Cursor.decode(entry.value)
    if cursor.content != content:
        raise DuplicateWorkflow(
            f"correlation id {wf!r} belongs to a workflow of other content; use another id, or the same content"
        )
    if env.mode == "separate" and cursor.state is State.READY and cursor.out:
        await env.transport.publish(publication(keys, cursor, Outgoing(cursor.queue, cursor.out)))
    return True


def _grant(policy: RevisionPolicy, issuer: str, steps: int) -> RevisionGrant:
    if not isinstance(policy, RevisionPolicy):
        raise InvalidWorkflow(f"revisions={policy!r} must be a RevisionPolicy")
    if type(policy.max_steps) is not int or not steps <= policy.max_steps <= 1024:
        raise InvalidWorkflow(
            f"RevisionPolicy: max_steps={policy.max_steps!r} must be a whole number from {steps}, the steps that the "
            "itinerary has already, to 1024"
        )
    acts = tuple(check_name(name) for name in _texts("activities", policy.activities))
    return RevisionGrant(by=_texts("by", policy.by) or (issuer,), acts=acts, max=policy.max_steps)


def _texts(name: str, given: object) -> tuple[str, ...]:
    some = isinstance(given, Collection) and not isinstance(given, (str, bytes))
    texts = tuple(cast("Collection[object]", given)) if some else (None,)
    if not all(isinstance(text, str) and 0 < len(text) <= 256 for text in texts):
        raise InvalidWorkflow(f"RevisionPolicy: {name}={given!r} must be a list of names, each of 1 to 256 characters")
    return cast("tuple[str, ...]", texts)


def _mapping(variables: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if variables is None or isinstance(variables, Mapping):
        return variables or {}
    raise InvalidWorkflow(f"variables must be a mapping of names to values, not {type(variables).__name__}")


def _variable(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        raise InvalidWorkflow(f"variable name {name!r} must be text of 1 to 128 characters")
    return name


def _lifetime(expires: timedelta | float | None, default: float) -> int:
    if expires is None:
        return int(default)
    given = seconds(expires)
    if given is None or not 1 <= given < 1e10:
        raise InvalidWorkflow(f"expires={expires!r} must be a timedelta or seconds, at least 1")
    return int(given)


def _check_size(
    env: Environment, size: int, steps: int, activities: Sequence[ActivitySpec], variables: Mapping[str, Any]
) -> None:
    """Refuse at the producer what would not fit at the last hop."""
    longest = size + steps * HOP_BYTES
    if longest <= env.max_body:
        return
    sizes = {
        f"argument {name!r} of activity {spec.name!r}": len(repr(value))
        for spec in activities
        for name, value in spec.arguments.items()
    }
    sizes |= {f"variable {name!r}": len(repr(value)) for name, value in variables.items()}
    largest = max(sizes, key=lambda what: sizes[what], default=None)
    told = "" if largest is None else f"; the largest value is {largest} (about {sizes[largest]} bytes)"
    raise MessageTooLarge(
        f"the workflow may need {longest} bytes in a message, over the limit of {env.max_body}{told}. Pass a "
        f"reference, configure a state store, or {env.raising}"
    )
