"""Logins of NATS by key: nkeys, and creds files of a decentralised account."""

from __future__ import annotations

import base64
import json
import os
import uuid
from pathlib import Path
from typing import Any

import nkeys
import pytest

from paigeant.errors import ConfigurationError
from paigeant.model.message import Message, Publication
from paigeant_nats.settings import NatsSettings
from paigeant_nats.transport import NatsTransport
from rig.brokers import NatsServer

WORK = Publication("work", Message("m-1", b"x"))
UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
ACCOUNT_LIMITS = {**UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
JETSTREAM_LIMITS = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


class Key:
    """A fresh pair of keys of a kind: ``O``perator, ``A``ccount or ``U``ser."""

    def __init__(self, kind: str) -> None:
        prefix = {"O": nkeys.PREFIX_BYTE_OPERATOR, "A": nkeys.PREFIX_BYTE_ACCOUNT, "U": nkeys.PREFIX_BYTE_USER}[kind]
        self.seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self.pair.public_key.decode()

    def jwt(self, subject: Key, nats: dict[str, Any]) -> str:
        """What this key says of ``subject``."""
        claims = {"jti": uuid.uuid4().hex, "iat": 1, "iss": self.public, "name": "test", "sub": subject.public}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, {**claims, "nats": {**nats, "version": 2}}]
        signed = ".".join(_b64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_b64(self.pair.sign(signed.encode()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def connecting(url: str, **settings: Any) -> NatsTransport:
    return NatsTransport(NatsSettings(url=url, namespace=f"t-{uuid.uuid4().hex[:12]}", timeout=5.0, **settings))


async def test_an_nkey(tmp_path: Path) -> None:
    own, other = Key("U"), Key("U")
    for name, key in (("own", own), ("other", other)):
        (tmp_path / name).write_bytes(key.seed)
    with NatsServer(tmp_path / "server", config={"authorization": {"users": [{"nkey": own.public}]}}) as server:
        async with connecting(server.url, nkey_file=tmp_path / "own") as transport:
            await transport.publish(WORK)
        with pytest.raises(ConfigurationError, match="refused the login") as caught:
            await connecting(server.url, nkey_file=tmp_path / "other").connect()
        assert other.seed.decode() not in str(caught.value)


async def test_a_creds_file(tmp_path: Path) -> None:
    operator, system, account, user, stranger = Key("O"), Key("A"), Key("A"), Key("U"), Key("A")
    limits = {"limits": {**ACCOUNT_LIMITS, **JETSTREAM_LIMITS}, "type": "account"}
    config = {
        "operator": operator.jwt(operator, {"type": "operator"}),
        "resolver": "MEMORY",
        "system_account": system.public,
        "resolver_preload": {
            system.public: operator.jwt(system, {"limits": ACCOUNT_LIMITS, "type": "account"}),
            account.public: operator.jwt(account, limits),
        },
    }
    for name, issuer in (("own", account), ("other", stranger)):
        (tmp_path / name).write_text(_creds(issuer.jwt(user, {**UNLIMITED, "type": "user"}), user.seed.decode()))
    with NatsServer(tmp_path / "server", config=config) as server:
        async with connecting(server.url, creds_file=tmp_path / "own") as transport:
            await transport.publish(WORK)
        with pytest.raises(ConfigurationError, match="refused the login"):
            await connecting(server.url, creds_file=tmp_path / "other").connect()


def _creds(jwt: str, seed: str) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
