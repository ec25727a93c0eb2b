"""CPU per open and per seal: a 3-step workflow with 1 KiB of values, HS256, averaged over its hops.

    python tests/benchmarks/bench_envelope.py [workflows]

*warm* opens in the process that sealed (what it verified, it remembers); *cold* in one that has seen
nothing of the workflow, so that every record is verified again.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from paigeant.envelope import CONTENT_TYPE, Codecs, Opened, Security, open_envelope, seal_hop, seal_origin
from paigeant.model.message import Message
from paigeant.routing import ActivitySpec, Commit, RetryPolicy, Succeeded, advance, build_steps

NOW = 1_800_000_000
TEXT = "x" * 250
"""Three arguments are needed at first, then results take their place: about 1 KiB at every hop."""


class Key:
    kid, alg, principal, secret = "key-1", "HS256", "acme", b"k" * 32

    async def sign(self, signing_input: bytes) -> bytes:
        return hmac.digest(self.secret, signing_input, "sha256")

    async def verify(self, signing_input: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self.secret, signing_input, "sha256"), signature)


class Json:
    media_type, binary = "application/json", False

    def encode(self, plain: Any) -> bytes:
        return json.dumps(plain).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Bench:
    def __init__(self) -> None:
        self.security = self.fresh()
        self.codecs = Codecs([Json()])
        self.spent = {"dispatch": 0, "open": 0, "seal": 0}

    @staticmethod
    def fresh() -> Security:
        return Security.build("acme", signers=[Key()], verifiers=[Key()])

    async def workflow(self, name: str, reader: Callable[[], Security]) -> None:
        blobs: dict[str, bytes] = {}

        def encode(value: object, what: str) -> Any:
            ref, data = self.codecs.encode(value)
            blobs[ref.h] = data
            return ref

        started = time.process_time_ns()
        steps = build_steps([ActivitySpec(f"step-{n}", {"text": TEXT, "n": n}) for n in range(3)], encode)
        variables = {"plan": encode(TEXT, "")}
        sealed = await seal_origin(
            wf=name, steps=steps, variables=variables, blobs=blobs, security=self.security, iat=NOW, exp=NOW + 60
        )
        self.spent["dispatch"] += time.process_time_ns() - started
        for _ in steps:
            sealed = await self.hop(Message("m", sealed.body, {"content-type": CONTENT_TYPE}), reader())

    async def hop(self, message: Message, reader: Security) -> Opened:
        started = time.process_time_ns()
        opened = await open_envelope(message, reader, now=NOW, limit=256 * 1024)
        between = time.process_time_ns()
        ref, data = self.codecs.encode({"text": TEXT})
        decided = advance(opened.slip, Succeeded(ref), attempt=1, policy=RetryPolicy(), random=0.5)
        assert isinstance(decided, Commit)
        resumed = time.process_time_ns()
        sealed = await seal_hop(opened, decided.draft, {ref.h: data}, self.security, now=NOW)
        sealed.body
        self.spent["open"] += between - started
        self.spent["seal"] += time.process_time_ns() - resumed
        return sealed


def yardstick() -> float:
    """Microseconds of one HMAC of 1 KiB: tells a busy machine from a slow program."""
    started = time.process_time_ns()
    for _ in range(10_000):
        hmac.digest(Key.secret, b"x" * 1024, "sha256")
    return (time.process_time_ns() - started) / 10_000 / 1000


async def main(workflows: int) -> None:
    print(f"yardstick: HMAC of 1 KiB {yardstick():.2f} us")
    for title, warm in (("warm", True), ("cold", False)):
        bench = Bench()
        for n in range(workflows):
            await bench.workflow(f"w-{n}", (lambda b=bench: b.security) if warm else Bench.fresh)
        per_hop = {
            name: spent / workflows / (1 if name == "dispatch" else 3) / 1000 for name, spent in bench.spent.items()
        }
        print(title, *(f"{name} {spent:6.1f} us" for name, spent in per_hop.items()), sep="   ")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000))
