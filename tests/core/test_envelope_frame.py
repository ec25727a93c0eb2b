"""The frame: digests, base64url, members, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paigeant.envelope import (
    Codecs,
    Envelope,
    Record,
    Signature,
    b64url,
    read_claims,
    read_envelope,
    sha,
    unb64url,
)
from paigeant.errors import (
    ConfigurationError,
    EnvelopeFormatError,
    LimitExceeded,
    SerializationError,
    UnsupportedVersion,
)
from paigeant.model.records import Item, Revision, StepPolicy, ValueRef

from .records_kit import LIMIT, Json

RECORD = {"payload": "e30", "signatures": [{"protected": "cA", "signature": "cw"}]}
FRAME: dict[str, Any] = {"v": 1, "origin": RECORD, "chain": [RECORD]}


def read(frame: Any, limit: int = LIMIT) -> Envelope:
    return read_envelope(json.dumps(frame).encode(), limit=limit)


def test_digests_are_those_of_the_specification() -> None:
    record = Record("cGF5", (Signature("aA", "c2ln"), Signature("aB", "c2lo")))
    assert record.digest == sha(b"paigeant/record/1\ncGF5\naA.c2ln\naB.c2lo")
    assert record.head == sha(b"cGF5")
    assert sha(b"") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"


@given(st.binary(max_size=80))
def test_base64url_round_trip(data: bytes) -> None:
    assert unb64url(b64url(data)) == data


@pytest.mark.parametrize("text", ["a", "YQ==", "YR", "Y+", "Y/", "YQ\n", "Y Q", "é", "YWI=", "=", "YW.I", "\ud800"])
def test_base64url_has_one_form(text: str) -> None:
    with pytest.raises(EnvelopeFormatError, match="base64url"):
        unb64url(text)


def test_a_frame_is_read() -> None:
    blob = "grüße"
    binary = b"\xff\x00"
    frame = {**FRAME, "blobs": {sha(blob.encode()): blob, sha(binary): {"b64": b64url(binary)}}, "ext": {"t": "x"}}
    envelope = read(frame)
    assert envelope.origin == envelope.chain[0] == Record("e30", (Signature("cA", "cw"),))
    assert envelope.blobs == {sha(blob.encode()): blob.encode(), sha(binary): binary}
    assert envelope.ext == {"t": "x"}
    assert json.loads(envelope.body) == frame


signatures = st.builds(Signature, st.binary(max_size=9).map(b64url), st.binary(max_size=9).map(b64url))
records = st.builds(Record, st.binary(max_size=30).map(b64url), st.lists(signatures, max_size=3).map(tuple))
blobs = st.lists(st.binary(max_size=20) | st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace")), max_size=4)
exts = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(0, 9) | st.none(), max_size=3)


@given(records, st.lists(records, max_size=4), blobs, exts)
def test_written_frames_are_read_back(origin: Record, chain: list[Record], values: list[bytes], ext: Any) -> None:
    envelope = Envelope((origin, *chain), {sha(v): v for v in values}, ext)
    written = envelope.body
    assert read_envelope(written, limit=LIMIT) == envelope
    assert read_envelope(written, limit=LIMIT).body == written


_wrong: list[tuple[Any, type[Exception]]] = [
    ([], EnvelopeFormatError),
    (None, EnvelopeFormatError),
    ({}, EnvelopeFormatError),
    ({**FRAME, "v": 2}, UnsupportedVersion),
    ({**FRAME, "v": True}, EnvelopeFormatError),
    ({**FRAME, "v": "1"}, EnvelopeFormatError),
    ({**FRAME, "v": 1.0}, EnvelopeFormatError),
    ({**FRAME, "more": 1}, EnvelopeFormatError),
    ({**FRAME, "sealed": {}}, UnsupportedVersion),
    ({"v": 1, "origin": RECORD}, EnvelopeFormatError),
    ({"v": 1, "chain": []}, EnvelopeFormatError),
    ({**FRAME, "chain": {}}, EnvelopeFormatError),
    ({**FRAME, "chain": [1]}, EnvelopeFormatError),
    ({**FRAME, "chain": [RECORD] * 1024}, LimitExceeded),
    ({**FRAME, "origin": {**RECORD, "header": {}}}, EnvelopeFormatError),
    ({**FRAME, "origin": {"payload": "e30"}}, EnvelopeFormatError),
    ({**FRAME, "origin": {**RECORD, "payload": 1}}, EnvelopeFormatError),
    ({**FRAME, "origin": {**RECORD, "signatures": {}}}, EnvelopeFormatError),
    ({**FRAME, "origin": {**RECORD, "signatures": RECORD["signatures"] * 9}}, LimitExceeded),
    ({**FRAME, "origin": {**RECORD, "signatures": [{"protected": "cA"}]}}, EnvelopeFormatError),
    ({**FRAME, "origin": {**RECORD, "signatures": [{"protected": "cA", "signature": None}]}}, EnvelopeFormatError),
    (
        {**FRAME, "origin": {**RECORD, "signatures": [{"protected": "cA", "signature": "cw", "header": {}}]}},
        EnvelopeFormatError,
    ),
    ({**FRAME, "blobs": []}, EnvelopeFormatError),
    ({**FRAME, "blobs": {"short": "x"}}, EnvelopeFormatError),
    ({**FRAME, "blobs": {"x" * 43: 1}}, EnvelopeFormatError),
    ({**FRAME, "blobs": {"x" * 43: {"b64": "YQ=="}}}, EnvelopeFormatError),
    ({**FRAME, "blobs": {"x" * 43: {"b64": 1}}}, EnvelopeFormatError),
    ({**FRAME, "blobs": {"x" * 43: {"b64": "YQ", "x": 1}}}, EnvelopeFormatError),
    ({**FRAME, "ext": []}, EnvelopeFormatError),
    ({**FRAME, "ext": None}, EnvelopeFormatError),
    ({**FRAME, "ext": {"x": "y" * 4096}}, LimitExceeded),
]


@pytest.mark.parametrize(("frame", "error"), _wrong, ids=[str(n) for n in range(len(_wrong))])
def test_a_wrong_frame_is_refused(frame: Any, error: type[Exception]) -> None:
    read(FRAME)
    with pytest.raises(error):
        read(frame)


def test_the_limit_has_a_cap_of_its_own() -> None:
    with pytest.raises(LimitExceeded):
        read(FRAME, limit=20)
    with pytest.raises(LimitExceeded, match="1048576"):
        read({**FRAME, "blobs": {"x" * 43: "y" * 2**20}}, limit=2**30)


def test_codecs_write_with_the_first_and_read_by_media_type() -> None:
    class Other(Json):
        media_type = "application/x-other"

        def encode(self, plain: Any) -> bytes:
            return b"other:" + super().encode(plain)

        def decode(self, data: bytes) -> Any:
            return super().decode(data.removeprefix(b"other:"))

    codecs = Codecs([Other(), Json()])
    ref, data = codecs.encode([1])
    assert (ref, data) == (ValueRef(h=sha(b"other:[1]"), n=9, mt="application/x-other"), b"other:[1]")
    assert codecs.decode(ref, data) == [1]
    assert codecs.decode(ValueRef(h=sha(b"2"), n=1, mt="application/json"), b"2") == 2


def test_codecs_say_what_is_missing_or_broken() -> None:
    codecs = Codecs([Json()])
    with pytest.raises(SerializationError, match=r"'image/png'.*PAIGEANT_SERIALIZERS"):
        codecs.decode(ValueRef(h=sha(b""), n=0, mt="image/png"), b"")
    with pytest.raises(SerializationError, match="application/json: cannot decode"):
        codecs.decode(ValueRef(h=sha(b"{"), n=1, mt="application/json"), b"{")
    with pytest.raises(SerializationError, match="application/json: cannot encode"):
        codecs.encode(object())
    with pytest.raises(ConfigurationError, match="PAIGEANT_SERIALIZERS"):
        Codecs([])
    with pytest.raises(ConfigurationError, match="same media type"):
        Codecs([Json(), Json()])


@pytest.mark.parametrize("media_type", ["", "json", "Application/JSON", "a/b\n", "a/" + 65 * "b"])
def test_a_serializer_whose_media_type_no_record_can_carry_is_refused(media_type: str) -> None:
    codec = Json()
    codec.media_type = media_type
    with pytest.raises(ConfigurationError, match="must match"):
        Codecs([codec])


@pytest.mark.parametrize(
    ("model", "claims"),
    [
        (ValueRef, {"h": "/" * 43, "n": 1, "mt": "application/json"}),
        (ValueRef, {"h": "a" * 42 + "\n", "n": 1, "mt": "application/json"}),
        (StepPolicy, {"pivot": False}),
        (Revision, {"n": 1, "tail": [], "why": "x", "end": False}),
        (Item, {}),
        (Item, {"delay": {"id": "d"}, "wait": {"id": "w", "signal": "s"}}),
    ],
)
def test_claims_outside_of_their_grammar_are_refused(model: Any, claims: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeFormatError):
        read_claims(json.dumps(claims, separators=(",", ":")).encode(), model)


HOSTILE: dict[str, tuple[bytes, type[Exception]]] = {
    "ext": (b'"ext":{"a":[%s]}' % b",".join([b"[]"] * 9_000), LimitExceeded),
    "ext, then ext again": (b'"ext":{"a":[%s]},"ext":{}' % b",".join([b"[]"] * 9_000), EnvelopeFormatError),
    "an unknown member": (b'"more":[%s]' % b",".join([b"[]"] * 9_000), EnvelopeFormatError),
    "another version": (b'"v":2,"more":[%s]' % b",".join([b"[]"] * 9_000), UnsupportedVersion),
    "sealed": (b'"sealed":[%s]' % b",".join([b"[]"] * 9_000), UnsupportedVersion),
}


@pytest.mark.parametrize(("member", "error"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_anybody_can_send_is_refused_before_it_is_parsed_at_length(
    member: bytes, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strict parser takes a hundred times as long as the fast one, and no signature is known yet."""
    monkeypatch.setattr("paigeant.envelope.frame.loads", lambda *_, **__: pytest.fail("the strict parser was asked"))
    body = json.dumps(FRAME).replace(" ", "").encode()
    with pytest.raises(error):
        read_envelope(body[:-1] + b"," + member + b"}")


@pytest.mark.parametrize(
    "member",
    ['"v":1', '"chain":[]', '"blobs":{}, "blobs":{}', '"ext":{},"ext":{}', r'"\u0076":1', '"blobs":{"a":"1","a":"2"}'],
)
def test_a_key_that_appears_twice_is_refused(member: str) -> None:
    with pytest.raises(EnvelopeFormatError, match="twice"):
        read_envelope((json.dumps(FRAME)[:-1] + "," + member + "}").encode())


@pytest.mark.parametrize("text", ['"', '\\"', "\\", '\\\\"', 'a"b"', "\\u0022", "é\\"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_another_writer_may_write_it_otherwise(text: str, ascii_only: bool) -> None:
    """With spaces, escapes and empty members: only what is ambiguous is refused."""
    frame = {**FRAME, "blobs": {sha(text.encode()): text}, "ext": {text: text}}
    written = json.dumps(frame, ensure_ascii=ascii_only, indent=1).encode()
    assert read_envelope(written) == read(frame)
    assert read_envelope(written).ext == {text: text}
    assert read({**FRAME, "blobs": {}, "ext": {}}) == read(FRAME)


def test_a_quote_may_be_written_as_its_number() -> None:
    digest = sha(b'a"')
    body = json.dumps({**FRAME, "blobs": {digest: "a_"}}).replace("a_", r"a\u0022").encode()
    assert read_envelope(body).blobs == {digest: b'a"'}
