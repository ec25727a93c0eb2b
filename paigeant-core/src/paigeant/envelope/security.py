"""What one process signs with, and what it accepts."""

from __future__ import annotations

import copy
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from ..abc import Signer, Verifier
from ..errors import ConfigurationError, PaigeantError, PolicyNotSatisfied
from ..model.lazy import lazy
from ..model.names import KID, check_namespace
from .chain import Verified
from .digest import sha
from .frame import MAX_SIGNATURES
from .signatures import KINDS, sign, verify

MAX_LIFETIME = 30 * 86_400


@dataclass(frozen=True, eq=False)
class Security:
    """Keys and verification policy of a namespace. Use ``build`` or ``insecure`` to make one.

    :param namespace: the audience of every workflow.
    :param issuer: the principal that this process signs as.
    :param signers: each adds one signature to every record, over the same bytes.
    :param verifiers: by kid.
    :param required: principals whose signatures each record must carry, all of them.
    :param max_lifetime: longest time from issue to expiry, seconds.
    :param skew: tolerated difference of clocks, seconds, at most 300.
    :param sign_timeout: seconds each signer has, and each verifier.
    :param store: the state store setting; a fleet must agree on it, so it is part of ``policy``.
    :param unsigned: records carry no signatures, and signed ones are refused.
    :param other_policy: what happens to a workflow dispatched under another policy: it is accepted
        with a warning, or refused.
    :raises ConfigurationError: the parts do not fit together.
    """

    namespace: str
    issuer: str
    signers: tuple[Signer, ...]
    verifiers: Mapping[str, Verifier]
    required: frozenset[str]
    max_lifetime: int = MAX_LIFETIME
    skew: int = 60
    sign_timeout: float = 5.0
    store: str = ""
    unsigned: bool = False
    other_policy: Literal["warn", "reject"] = "warn"
    verified: Verified = field(default_factory=Verified, init=False, repr=False)
    _satisfied: dict[tuple[str, ...], frozenset[str]] = field(
        default_factory=dict[tuple[str, ...], frozenset[str]], init=False, repr=False
    )

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        if not 1 <= len(self.issuer) <= 256:
            raise ConfigurationError(f"issuer {self.issuer!r} must have 1 to 256 characters")
        if not 0 <= self.skew <= 300:
            raise ConfigurationError(f"skew={self.skew!r} must be 0 to 300 seconds")
        if self.unsigned:
            if self.signers or self.verifiers or self.required:
                raise ConfigurationError(
                    "an unsigned namespace has neither signers nor verifiers nor required principals"
                )
            return
        self._check_keys()

    @classmethod
    def build(
        cls,
        namespace: str,
        *,
        signers: Sequence[Signer],
        verifiers: Iterable[Verifier],
        issuer: str | None = None,
        required: Iterable[str] | None = None,
        max_lifetime: int = MAX_LIFETIME,
        skew: int = 60,
        sign_timeout: float = 5.0,
        store: str = "",
        other_policy: Literal["warn", "reject"] = "warn",
    ) -> Self:
        """A signed namespace.

        :param issuer: default: the principal of the first signer.
        :param required: default: the principals of all signers.
        :raises ConfigurationError: a kid appears twice, a signer has no verifier, or the signers do not
            satisfy ``required``.
        """
        known: dict[str, Verifier] = {}
        for verifier in verifiers:
            if verifier.kid in known:
                raise ConfigurationError(f"two keys have the kid {verifier.kid!r}; every kid is one key")
            known[verifier.kid] = verifier
        own = [known[signer.kid].principal for signer in signers if signer.kid in known]
        return cls(
            namespace=namespace,
            issuer=issuer or next(iter(own), namespace),
            signers=tuple(sorted(signers, key=lambda signer: signer.kid)),
            verifiers=known,
            required=frozenset(own if required is None else required),
            max_lifetime=max_lifetime,
            skew=skew,
            sign_timeout=sign_timeout,
            store=store,
            other_policy=other_policy,
        )

    @classmethod
    def insecure(cls, namespace: str, *, issuer: str = "anonymous", store: str = "") -> Self:
        """An unsigned namespace: whoever can write to the broker can do anything."""
        return cls(namespace, issuer, (), {}, frozenset(), store=store, unsigned=True)

    def sharing(self, verified: Verified) -> Self:
        """The same, with a memory that others of the same keys and policy use too."""
        shared = copy.copy(self)
        object.__setattr__(shared, "verified", verified)
        return shared

    @lazy
    def kids(self) -> tuple[str, ...]:
        """The kids that sign every record of this process, sorted."""
        return tuple(signer.kid for signer in self.signers)

    @lazy
    def policy(self) -> str:
        """Digest of what a fleet must agree on; part of every origin, so that a difference is visible."""
        agreed = {
            "algs": sorted({verifier.alg for verifier in self.verifiers.values()}),
            "required": sorted(self.required),
            "store": self.store,
            "unsigned": self.unsigned,
        }
        return sha(json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode())

    @lazy
    def trust(self) -> Hashable:
        """What decides whether a record is accepted: who agrees in it may rely on each other's verification."""
        keys = frozenset((verifier.kid, verifier.alg, verifier.principal) for verifier in self.verifiers.values())
        return self.namespace, self.policy, keys, self.max_lifetime, self.skew, self.other_policy

    def check_principals(self, kids: tuple[str, ...]) -> frozenset[str]:
        """The principals of valid signatures by these kids.

        :raises PolicyNotSatisfied: a required one is not among them.
        """
        known = self._satisfied.get(kids)
        if known is not None:
            return known
        principals = frozenset(self.verifiers[kid].principal for kid in kids)
        if missing := self.required - principals:
            raise PolicyNotSatisfied(f"not signed by {', '.join(map(repr, sorted(missing)))}, as the policy requires")
        self._satisfied[kids] = principals
        return principals

    async def self_test(self) -> None:
        """Sign a probe of each kind and verify it with the own keys and policy, before any work is accepted.

        :raises ConfigurationError: it fails; the cause is attached.
        """
        for kind in KINDS:
            try:
                probe = await sign(b'{"probe":true}', kind, self)
                self.check_principals(await verify(probe, kind, self))
            except PaigeantError as exc:
                raise ConfigurationError(
                    f"the signers of namespace {self.namespace!r} fail their self-test: {exc}"
                ) from exc

    def _check_keys(self) -> None:
        if not self.verifiers:
            raise ConfigurationError("no key to verify with; set PAIGEANT_SIGNERS, or PAIGEANT_SECURITY=insecure")
        if len(self.signers) > MAX_SIGNATURES:
            raise ConfigurationError(
                f"{len(self.signers)} signers; a record carries at most {MAX_SIGNATURES} signatures"
            )
        kids = [signer.kid for signer in self.signers]
        if kids != sorted(set(kids)):
            raise ConfigurationError(f"signers must have different kids, in order; they have {kids!r}")
        for kid in self.verifiers:
            if not KID.fullmatch(kid):
                raise ConfigurationError(f"kid {kid!r} must match {KID.pattern}")
        for signer in self.signers:
            verifier = self.verifiers.get(signer.kid)
            if verifier is None or verifier.alg != signer.alg:
                raise ConfigurationError(
                    f"signer {signer.kid!r} ({signer.alg}) has no verifier of that kid and algorithm"
                )
        if self.signers:
            self._check_own_signatures()

    def _check_own_signatures(self) -> None:
        try:
            principals = self.check_principals(self.kids)
        except PolicyNotSatisfied as exc:
            raise ConfigurationError(f"records of this process would be refused: {exc}") from exc
        if self.issuer not in principals:
            raise ConfigurationError(f"issuer {self.issuer!r} is none of the signing principals {sorted(principals)!r}")
