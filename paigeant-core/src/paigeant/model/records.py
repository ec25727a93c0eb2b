"""The claims of signed records: what travels, member by member.

A workflow is an append-only chain: one *origin* record made by the dispatcher, then one *hop* record
per transition (event sourcing; EIP "Routing Slip"). Member names are those on the wire, where they
are short because they travel on every hop. Readers accept exactly these members: an unknown one, a
missing one or one of another type is refused. All members of every item kind are fixed here so that
the format does not change when a release learns to run more of them.

Times are whole seconds since the epoch (RFC 7519 NumericDate). Digests are base64url SHA-256.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, field

from .names import CORRELATION_ID, KID, NAME, NAMESPACE

MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")

Digest: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")]
WorkflowId: TypeAlias = Annotated[str, Meta(pattern=rf"\A{CORRELATION_ID}\Z")]
Namespace: TypeAlias = Annotated[str, Meta(pattern=rf"\A{NAMESPACE}\Z")]
Name: TypeAlias = Annotated[str, Meta(pattern=rf"\A{NAME}\Z")]
StepId: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Kid: TypeAlias = Annotated[str, Meta(pattern=rf"\A{KID.pattern}\Z")]
Principal: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
MediaType: TypeAlias = Annotated[str, Meta(pattern=rf"\A{MEDIA_TYPE.pattern}\Z")]
Time: TypeAlias = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Index: TypeAlias = Annotated[int, Meta(gt=-(2**53), lt=2**53)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Claims(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of every claims object: exact members, exact types, immutable.

    Types are checked when claims are read, not when they are made: see ``read_claims`` and ``write_claims``.
    """


def _true_or_absent(flag: bool | None) -> None:
    """There is one way to say no: to leave it out."""
    if flag is False:
        raise ValueError("a flag is true or absent")


class ValueRef(Claims, frozen=True, kw_only=True):
    """A value by reference: digest, length in bytes, media type. The bytes travel as a blob."""

    h: Digest
    n: Count
    mt: MediaType


class Source(Claims, frozen=True, kw_only=True):
    """Where an argument comes from: the result of an earlier step, optionally a path into it."""

    step: StepId
    path: tuple[str | Index, ...] | None = None


class StepPolicy(Claims, frozen=True, kw_only=True):
    """The dispatcher's wishes for one step; each overrides the activity's own policy.

    ``attempts``; ``exhausted`` (what happens after the last attempt); ``pivot`` (after it succeeds,
    retry forward only).
    """

    attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    exhausted: Literal["compensate", "park"] | None = None
    pivot: bool | None = None

    def __post_init__(self) -> None:
        _true_or_absent(self.pivot)


class Step(Claims, frozen=True, kw_only=True):
    """One activity of the itinerary.

    ``id`` unique in the workflow; ``act`` activity; ``q`` queue; ``args`` encoded arguments;
    ``from`` parameters taken from results; ``by`` principals that may run it; ``scope`` token scopes;
    ``pin`` a revision cannot drop it; ``comp`` what a failed compensation does.
    """

    id: StepId
    act: Name
    q: Name
    args: ValueRef
    from_: dict[Key, Source] | None = field(name="from", default=None)
    policy: StepPolicy | None = None
    by: tuple[Principal, ...] | None = None
    scope: tuple[Text, ...] | None = None
    pin: bool | None = None
    comp: Literal["halt", "continue", "park"] | None = None

    def __post_init__(self) -> None:
        _true_or_absent(self.pin)


class Each(Claims, frozen=True, kw_only=True):
    """A template signed once for many branches: its tail, their number, the root of their arguments."""

    tail: tuple[Item, ...]
    n: Count
    root: Digest


class JoinPolicy(Claims, frozen=True, kw_only=True):
    """When a fork joins: ``all``, ``first``, ``settled``, or ``at-least`` ``k`` branches."""

    kind: Literal["all", "first", "settled", "at-least"]
    k: Count | None = None
    within: Count | None = None
    late: Literal["compensate", "keep"] | None = None


class Fork(Claims, frozen=True, kw_only=True):
    """Parallel branches and how they join: either ``branches`` or ``each``."""

    id: StepId
    policy: JoinPolicy
    branches: tuple[tuple[Item, ...], ...] | None = None
    each: Each | None = None


class Wait(Claims, frozen=True, kw_only=True):
    """Wait for a signal, at most ``within`` seconds, then take the ``otherwise`` route."""

    id: StepId
    signal: Text
    within: Count | None = None
    otherwise: tuple[Item, ...] | None = None


class Delay(Claims, frozen=True, kw_only=True):
    """Go on after ``seconds``, or at the time ``until``."""

    id: StepId
    seconds: Count | None = None
    until: Time | None = None


class Child(Claims, frozen=True, kw_only=True):
    """A child workflow with its own itinerary; ``detached`` does not wait for it."""

    id: StepId
    items: tuple[Item, ...]
    vars: dict[Key, ValueRef] | None = None
    detached: bool | None = None

    def __post_init__(self) -> None:
        _true_or_absent(self.detached)


class Item(Claims, frozen=True, kw_only=True):
    """One item of an itinerary: an activity, a fork, a wait, a delay or a child workflow."""

    step: Step | None = None
    fork: Fork | None = None
    wait: Wait | None = None
    delay: Delay | None = None
    child: Child | None = None

    def __post_init__(self) -> None:
        if (self.step, self.fork, self.wait, self.delay, self.child).count(None) != 4:
            raise ValueError("an item is exactly one of 'step', 'fork', 'wait', 'delay' and 'child'")

    @property
    def kind(self) -> str:
        """Name of the one member that it has."""
        return next(name for name in self.__struct_fields__ if getattr(self, name) is not None)


class RevisionGrant(Claims, frozen=True, kw_only=True):
    """Who may revise the itinerary (``by``), with which activities, to at most how many steps."""

    by: tuple[Principal, ...]
    acts: tuple[Name, ...]
    max: Annotated[int, Meta(ge=1, le=1024)]


class OnBehalfOf(Claims, frozen=True, kw_only=True):
    """How the user's rights are carried; never a token."""

    mode: Literal["ref", "sealed"]
    h: Digest
    sub: Text
    iss: Text


class Origin(Claims, frozen=True, kw_only=True):
    """The dispatcher's mandate: everything a worker may be asked to do, signed once.

    ``wf`` correlation id; ``iss`` issuer; ``aud`` namespace; ``iat`` issued at; ``exp`` expiry;
    ``dl`` deadline; ``sub`` user; ``reply_to`` queue of the outcome; ``vars`` variables; ``items``
    itinerary; ``scope`` widest scope; ``rev`` revision grant; ``obo`` on behalf of; ``policy`` digest
    of the verification policy; ``signers`` key ids that sign this record, sorted.
    """

    wf: WorkflowId
    iss: Principal
    aud: Namespace
    iat: Time
    exp: Time
    dl: Time | None = None
    sub: Text | None = None
    reply_to: Name | None = None
    vars: dict[Key, ValueRef] | None = None
    items: Annotated[tuple[Item, ...], Meta(min_length=1)]
    scope: tuple[Text, ...] | None = None
    rev: RevisionGrant | None = None
    obo: OnBehalfOf | None = None
    policy: Digest
    signers: tuple[Kid, ...]


class ErrorClaim(Claims, frozen=True, kw_only=True):
    """A fault: its class, and the digest of the blob with its text."""

    class_: Text = field(name="class")
    h: Digest


class RequestClaim(Claims, frozen=True, kw_only=True):
    """Digest of the request that caused the transition (a cancellation)."""

    h: Digest


class Revision(Claims, frozen=True, kw_only=True):
    """The complete new tail of the itinerary, not a delta.

    ``n`` counts the revisions of the workflow from 1; ``end`` terminates it without compensation.
    """

    n: Positive
    tail: tuple[Item, ...]
    why: Text
    end: bool | None = None

    def __post_init__(self) -> None:
        _true_or_absent(self.end)


class ForkClaim(Claims, frozen=True, kw_only=True):
    """The fork that this hop opened."""

    n: Count
    root: Digest
    policy: JoinPolicy


class JoinClaim(Claims, frozen=True, kw_only=True):
    """The join that this hop made of its branches."""

    fork: Digest
    root: Digest
    missing: tuple[Count, ...]


class ApprovalClaim(Claims, frozen=True, kw_only=True):
    """A person's decision, bound to what was asked."""

    wait: StepId
    h: Digest
    decision: Literal["approved", "denied"]
    exp: Time


class Hop(Claims, frozen=True, kw_only=True):
    """One transition of a branch, made by the worker that ran it.

    ``seq`` from 0; ``prev`` digest of the record before; ``step``, ``act`` what ran; ``dir``
    ``do`` or ``undo``; ``att`` attempts it took; ``st`` how it ended; ``out`` result; ``vars``
    variables set (``null`` removes one); ``comp`` data registered for compensation; ``err`` fault;
    ``usage`` counters; ``req`` request; then, by kind of transition, ``rev``, ``fork``, ``join``,
    ``approval``. ``wf``, ``prev``, ``step``, ``act`` and ``signers`` must equal what is known already, so
    they need no grammar of their own.
    """

    wf: str
    seq: Count
    prev: str
    step: str
    act: str
    dir: Literal["do", "undo"]
    att: Positive
    iss: Principal
    iat: Time
    st: Literal["ok", "fault", "skip", "expired", "cancelled"]
    out: ValueRef | None = None
    vars: dict[Key, ValueRef | None] | None = None
    comp: ValueRef | None = None
    err: ErrorClaim | None = None
    usage: dict[Key, Count] | None = None
    req: RequestClaim | None = None
    rev: Revision | None = None
    fork: ForkClaim | None = None
    join: JoinClaim | None = None
    approval: ApprovalClaim | None = None
    signers: tuple[str, ...]


class Registered(Claims, frozen=True, kw_only=True):
    """What the step at ``seq`` has registered for compensation so far: ``data``, the bytes of which are stored with it.

    ``head`` is the digest of the payload of the record before, and so of all that leads to this step. It never
    travels: it waits in the state store until the hop of the step refers to the data as its ``comp``.
    """

    wf: str
    branch: str
    seq: Count
    step: str
    head: str
    data: ValueRef
    iss: Principal
    iat: Time
    signers: tuple[str, ...]


class Attest(Claims, frozen=True, kw_only=True):
    """An operator's word that records up to ``upto`` stay accepted although their key was retired."""

    wf: WorkflowId
    seq: Count
    prev: Digest
    upto: Count
    reason: Text
    iss: Principal
    iat: Time
    signers: tuple[Kid, ...]
