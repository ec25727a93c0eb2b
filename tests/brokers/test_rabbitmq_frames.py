"""What is written on the wire and read from it, beside pamqp; and bytes that anybody may have written."""

from __future__ import annotations

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from paigeant_rabbitmq import frames
from paigeant_rabbitmq.delays import BUCKETS, bucket
from paigeant_rabbitmq.notes import NONE, Note
from paigeant_rabbitmq.properties import read_properties
from paigeant_rabbitmq.received import read

short_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=500)


def unframed(data: bytes) -> list[object]:
    found: list[object] = []
    while data:
        used, _, frame = pamqp.frame.unmarshal(data)
        found.append(frame)
        data = data[used:]
    return found


@given(
    st.text("abc.:-", max_size=100),
    short_texts,
    st.dictionaries(short_texts, texts, max_size=4),
    st.binary(max_size=300),
)
def test_a_published_message_is_what_pamqp_reads(
    queue: str, message_id: str, headers: dict[str, str], body: bytes
) -> None:
    head = frames.content_header(len(body), message_id, headers, "due=1;received=2", "60000")
    parts = frames.content(7, frames.publish_method("x", queue), head, body, 128)
    method, content, *bodies = unframed(b"".join(parts))
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("x", queue, True)
    assert isinstance(content, header.ContentHeader)
    properties = content.properties
    assert (properties.message_id or "", dict(properties.headers or {})) == (message_id, headers)
    assert (properties.delivery_mode, properties.expiration) == (2, "60000")
    assert b"".join(part.value for part in bodies) == body  # type: ignore[attr-defined]


@given(short_texts, st.dictionaries(short_texts, texts, max_size=4))
def test_properties_are_read_as_they_were_written(message_id: str, headers: dict[str, str]) -> None:
    found = read_properties(frames.content_header(0, message_id, headers, "kind", ""))
    assert (found.message_id, found.headers, found.type) == (message_id, headers, "kind")


def test_properties_of_other_programs_are_read_as_pamqp_writes_them() -> None:
    properties = commands.Basic.Properties(
        content_type="text/plain", content_encoding="gzip", headers={"a": "b", "n": 5, "deep": {"x": [1, None]}},
        delivery_mode=1, priority=3, correlation_id="c", reply_to="r", expiration="9", message_id="m", message_type="t",
        user_id="u", app_id="app",
    )  # fmt: skip
    payload = header.ContentHeader(body_size=3, properties=properties).marshal()
    found = read_properties(payload)
    assert (found.message_id, found.type, found.headers["a"], found.headers["n"]) == ("m", "t", "b", 5)
    assert frames.body_size(payload) == 3
    received = read(payload, b"abc", redelivered=False, counted=True)
    assert received.message.headers == {"a": "b"}
    assert (received.message.id, received.due, received.deliveries) == ("m", 0, 1)


@given(st.binary(max_size=200))
def test_hostile_properties_are_never_an_error(noise: bytes) -> None:
    payload = frames.content_header(1, "m", {"key": "value"}, "kind", "")
    for data in (payload[:12] + noise, payload[:20] + noise, payload[:14] + noise + payload[14:]):
        received = read(data, b"x", redelivered=False, counted=True)
        assert received.message.id
        assert received.deliveries is not None


def test_acknowledgements_are_what_pamqp_reads() -> None:
    (ack,) = unframed(frames.ack_frame(3, 77))
    assert isinstance(ack, commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (77, False)
    (nack,) = unframed(frames.reject_frame(3, 78))
    assert isinstance(nack, commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (78, False, True)


@pytest.mark.parametrize("multiple", [True, False])
def test_confirms_and_deliveries_are_read(multiple: bool) -> None:
    confirm = pamqp.frame.marshal(commands.Basic.Ack(delivery_tag=5, multiple=multiple), 1)[7:-1]
    assert frames.read_confirm(confirm) == (5, multiple)
    deliver = commands.Basic.Deliver(
        consumer_tag="tag", delivery_tag=9, redelivered=multiple, exchange="e", routing_key="q"
    )
    assert frames.read_deliver(pamqp.frame.marshal(deliver, 1)[7:-1]) == (b"tag", 9, multiple)
    returned = commands.Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="q")
    assert frames.read_return(pamqp.frame.marshal(returned, 1)[7:-1]) == ("NO_ROUTE", "q")


@pytest.mark.parametrize(
    ("headers", "redelivered", "deliveries"),
    [
        ({}, False, 1),
        ({}, True, 2),
        ({"x-delivery-count": 3}, True, 4),
        ({"x-delivery-count": 3, "x-acquired-count": 7}, True, 8),
        ({"x-delivery-count": -1}, False, 1),
        ({"x-delivery-count": "many"}, False, 1),
    ],
)
def test_deliveries_are_counted_by_what_the_broker_says(
    headers: dict[str, object], redelivered: bool, deliveries: int
) -> None:
    properties = commands.Basic.Properties(headers=headers, message_id="m", message_type="due=0;received=0")  # type: ignore[arg-type]
    payload = header.ContentHeader(body_size=0, properties=properties).marshal()
    assert read(payload, b"", redelivered=redelivered, counted=True).deliveries == deliveries
    assert read(payload, b"", redelivered=redelivered, counted=False).deliveries is None


def test_a_message_without_an_id_has_the_same_one_at_each_receipt() -> None:
    payload = header.ContentHeader(body_size=1, properties=commands.Basic.Properties()).marshal()
    first, second = (read(payload, b"a", redelivered=again, counted=True).message.id for again in (False, True))
    assert first == second
    assert first != read(payload, b"b", redelivered=False, counted=True).message.id


@given(st.integers(0, 10**13 - 1), st.integers(0, 10**6))
def test_notes_survive(due: int, received: int) -> None:
    assert Note.parse(str(Note(due, received))) == Note(due, received)


@given(st.one_of(st.text(max_size=30), st.sampled_from(["due=", "due=-1;received=2", "due=1e9;received=\u0661", ";;"])))
def test_foreign_notes_are_none(text: str) -> None:
    if not text.startswith("due=") or "received=" not in text:
        assert Note.parse(text).received == 0
    assert Note.parse("due=-1;received=x") == NONE
    assert Note.parse("due=" + "9" * 40 + ";received=" + "9" * 40) == NONE


@given(st.floats(0.001, 10 * 86_400_000))
def test_a_bucket_is_never_too_long_but_for_the_shortest(remaining: float) -> None:
    chosen = bucket(remaining)
    assert chosen <= remaining or chosen == BUCKETS[0]
    longer = [one for one in BUCKETS if one > chosen]
    assert not longer or longer[0] > remaining


@given(st.floats(0.001, 7 * 86_400_000))
def test_any_delay_ends_in_time_and_within_a_hundred_milliseconds(delay: float) -> None:
    waited, rounds = 0.0, 0
    while waited < delay:
        waited += bucket(delay - waited)
        rounds += 1
    assert waited - delay <= BUCKETS[0]
    assert rounds < 30
