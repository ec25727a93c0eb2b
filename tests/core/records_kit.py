"""Keys, codecs and short ways to make records, shared by the tests of routing and envelope."""

from __future__ import annotations

import hmac
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from msgspec import structs

from paigeant.envelope import CONTENT_TYPE, Codecs, Opened, Security, open_envelope, seal_hop, seal_origin, sha
from paigeant.envelope.opening import carried
from paigeant.model.message import Message
from paigeant.model.records import Hop, Item, Origin, RevisionGrant, Step, ValueRef
from paigeant.routing import ActivitySpec, HopDraft, Slip, build_steps

NOW = 1_800_000_000
LIMIT = 256 * 1024

T = TypeVar("T")


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that waits for nothing; an event loop per example would take most of the time."""
    try:
        work.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    raise AssertionError("it waits for something")


class Key:
    """HMAC with SHA-256: signer and verifier of one kid."""

    alg = "HS256"

    def __init__(self, kid: str = "key-1", principal: str = "acme", secret: bytes = b"") -> None:
        self.kid, self.principal, self.secret = kid, principal, secret or kid.encode().ljust(32, b".")

    async def sign(self, signing_input: bytes) -> bytes:
        return hmac.digest(self.secret, signing_input, "sha256")

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(await Key.sign(self, signing_input), signature)


class Json:
    media_type = "application/json"
    binary = False

    def encode(self, plain: Any) -> bytes:
        return json.dumps(plain).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Values:
    """Encodes values and keeps their bytes, as a dispatcher does."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.codecs = Codecs([Json()])

    def ref(self, plain: Any, what: str = "") -> ValueRef:
        ref, data = self.codecs.encode(plain)
        self.blobs[ref.h] = data
        return ref

    def travelling(self, slip: Slip) -> set[str]:
        """Digests of those that travel on."""
        return set(carried(slip, self.blobs)[0])


def signed(*keys: Key, namespace: str = "acme", **options: Any) -> Security:
    own = keys or (Key(),)
    return Security.build(namespace, signers=own, verifiers=own, **options)


def specs(*names: str) -> list[ActivitySpec]:
    return [ActivitySpec(name) for name in names]


def origin_of(steps: Sequence[Step], **claims: Any) -> Origin:
    return Origin(
        **{
            "wf": "w",
            "iss": "acme",
            "aud": "acme",
            "iat": NOW,
            "exp": NOW + 3600,
            "items": tuple(Item(step=step) for step in steps),
            "policy": sha(b""),
            "signers": ("key-1",),
            **claims,
        }
    )


def hop_of(slip: Slip, draft: HopDraft, **claims: Any) -> Hop:
    drafted = structs.asdict(draft)
    rest = {"wf": slip.origin.wf, "seq": slip.seq, "prev": sha(b""), "iss": "acme", "iat": slip.iat}
    return Hop(**{**drafted, **rest, "signers": ("key-1",), **claims})


def draft_of(slip: Slip, st: str = "ok", **members: Any) -> HopDraft:
    """A draft of the next task, with these members."""
    task = slip.next
    assert task is not None
    return HopDraft(task.step.id, task.step.act, task.direction, 1, st, **members)  # type: ignore[arg-type]


async def dispatched(
    security: Security, *names: str, variables: Mapping[str, Any] | None = None, rev: RevisionGrant | None = None
) -> Opened:
    """A sealed origin with an argument of its own for each activity."""
    values = Values()
    steps = build_steps([ActivitySpec(name, {"x": f"for {name}"}) for name in names or ("a", "b", "c")], values.ref)
    refs = {name: values.ref(value) for name, value in (variables or {"plan": "free"}).items()}
    return await seal_origin(
        wf="w-1", steps=steps, variables=refs, blobs=values.blobs, security=security, iat=NOW, exp=NOW + 3600, rev=rev
    )


async def done(before: Opened, security: Security, result: Any = "fine", *, now: float = NOW, **members: Any) -> Opened:
    """The next task succeeded."""
    values = Values()
    draft = draft_of(before.slip, out=values.ref(result), **members)
    return await seal_hop(before, draft, values.blobs, security, now=now)


async def two_hops(security: Security) -> Opened:
    return await done(await done(await dispatched(security), security), security)


def message(sealed: Opened | bytes, content_type: str | None = CONTENT_TYPE) -> Message:
    data = sealed if isinstance(sealed, bytes) else sealed.body
    return Message("m", data, {} if content_type is None else {"content-type": content_type})


async def reopened(sealed: Opened | bytes, security: Security, *, now: float = NOW, limit: int = LIMIT) -> Opened:
    """Open as another process of the same namespace would: nothing remembered."""
    return await open_envelope(message(sealed), forgetful(security), now=now, limit=limit)


def forgetful(security: Security) -> Security:
    """The same security, without the chains it has verified."""
    values = {part.name: getattr(security, part.name) for part in fields(security) if part.init}
    return Security(**values)
