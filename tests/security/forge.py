"""Bad messages made from a good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from paigeant.envelope import CONTENT_TYPE, b64url, unb64url
from paigeant.model.message import Message

from ..core.records_kit import Key, signed

HEADERS = {"content-type": CONTENT_TYPE}
OURS, THEIRS = Key("ours", "acme"), Key("theirs", "mallory")


def security(*keys: Key, **options: Any) -> Any:
    return signed(*(keys or (OURS,)), namespace="default", **options)


def edited(message: Message, change: Callable[[dict[str, Any]], object]) -> Message:
    """The message with its JSON changed in place."""
    envelope = json.loads(message.body)
    change(envelope)
    return Message(f"{message.id}-bad", json.dumps(envelope).encode(), message.headers)


def with_body(message: Message, body: bytes) -> Message:
    return Message(f"{message.id}-bad", body, message.headers)


def with_headers(message: Message, headers: dict[str, str]) -> Message:
    return Message(f"{message.id}-bad", message.body, headers)


def claims(record: dict[str, Any], **changes: Any) -> None:
    """Change signed claims, without the key."""
    payload = json.loads(unb64url(record["payload"]))
    record["payload"] = b64url(json.dumps({**payload, **changes}).encode())


def flipped(text: str) -> str:
    """Base64url text of other bytes, still well-formed."""
    return ("B" if text[0] != "B" else "C") + text[1:]


def sign_flipped(envelope: dict[str, Any]) -> None:
    signature = envelope["origin"]["signatures"][0]
    signature["signature"] = flipped(signature["signature"])


def blobs_changed(envelope: dict[str, Any]) -> None:
    envelope["blobs"] = {digest: "9" + str(text) for digest, text in envelope["blobs"].items()}


ORIGIN_CASES: dict[str, tuple[Callable[[Message], Message], str]] = {
    "empty": (lambda m: with_body(m, b""), "EnvelopeFormatError"),
    "not utf-8": (lambda m: with_body(m, b"\xff\xfe{}"), "EnvelopeFormatError"),
    "a byte order mark": (lambda m: with_body(m, b"\xef\xbb\xbf" + m.body), "EnvelopeFormatError"),
    "a pickle": (lambda m: with_body(m, b"\x80\x04\x95."), "EnvelopeFormatError"),
    "no members": (lambda m: with_body(m, b"{}"), "EnvelopeFormatError"),
    "trailing bytes": (lambda m: with_body(m, m.body + b"x"), "EnvelopeFormatError"),
    "cut off": (lambda m: with_body(m, m.body[:-20]), "EnvelopeFormatError"),
    "a key twice": (lambda m: with_body(m, b'{"v":1,' + m.body[1:]), "EnvelopeFormatError"),
    "a member more": (lambda m: edited(m, lambda e: e.update(sudo=True)), "EnvelopeFormatError"),
    "version 2": (lambda m: edited(m, lambda e: e.update(v=2)), "UnsupportedVersion"),
    "version true": (lambda m: edited(m, lambda e: e.update(v=True)), "EnvelopeFormatError"),
    "too large": (lambda m: edited(m, lambda e: e.update(blobs={"A" * 43: "x" * 300_000})), "LimitExceeded"),
    "too deep": (lambda m: with_body(m, b'{"v":1,"ext":' + b"[" * 99 + b"]" * 99 + b"}"), "LimitExceeded"),
    "no content type": (lambda m: with_headers(m, {}), "UnsupportedContentType"),
    "another content type": (lambda m: with_headers(m, {"content-type": "application/json"}), "UnsupportedContentType"),
    "a payload changed": (lambda m: edited(m, lambda e: claims(e["origin"], wf="another")), "BadSignature"),
    "a signature changed": (lambda m: edited(m, sign_flipped), "BadSignature"),
    "signatures stripped": (lambda m: edited(m, lambda e: e["origin"].update(signatures=[])), "MissingSignature"),
    "a value changed": (lambda m: edited(m, blobs_changed), "PayloadMismatch"),
    "an attempt header from hell": (
        lambda m: with_headers(edited(m, lambda e: e.update(v=3)), {**HEADERS, "paigeant-attempt": "9" * 999}),
        "UnsupportedVersion",
    ),
}
"""Made from a message with an origin alone: how, and the error it must be refused with."""


def swap(envelope: dict[str, Any]) -> None:
    envelope["chain"].reverse()


def drop_first(envelope: dict[str, Any]) -> None:
    del envelope["chain"][0]


def repeat_last(envelope: dict[str, Any]) -> None:
    envelope["chain"].append(envelope["chain"][-1])


def origin_as_hop(envelope: dict[str, Any]) -> None:
    envelope["chain"][0] = envelope["origin"]


CHAIN_CASES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "re-ordered": (swap, "ChainError"),
    "the first dropped": (drop_first, "ChainError"),
    "the last repeated": (repeat_last, "ChainError"),
    "the origin as a hop": (origin_as_hop, "HeaderError"),
    "a hop changed": (lambda e: claims(e["chain"][0], att=7), "BadSignature"),
    "cut back to an earlier step": (lambda e: e["chain"].pop(), "AudienceMismatch"),
    "no chain": (lambda e: e["chain"].clear(), "AudienceMismatch"),
}
"""Made from a message with two hops, for the queue of the third step."""
