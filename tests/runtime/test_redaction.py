"""Redaction: what must not travel does not, and no text makes it slow."""

from __future__ import annotations

import time

import pytest

from paigeant.runtime.redaction import MAX_TEXT, describe, redact

ADVERSARIES = [
    "secret-",
    "secret",
    "secret_token",
    "secret ",
    "secret='",
    "secret:",
    "a-",
    "a.",
    "a://",
    "a://b:",
    "://",
    "bearer ",
    "basic\t",
    "eyJ",
    "-eyJ",
    "eyJaaaaaa-",
    "sk-",
    "sk-aaaaaaaaaaa",
    "api_key-",
    "password",
    "AKIA",
]


PEM = "-----BEGIN RSA PRIVATE KEY-----"


@pytest.mark.parametrize("unit", [*ADVERSARIES, PEM, f"{PEM}-", "-----BEGIN ", "://a:b@"])
@pytest.mark.parametrize("end", ["", "!", '="', " " * MAX_TEXT], ids=["", "!", "quote", "spaces"])
def test_no_text_makes_redaction_slow(unit: str, end: str) -> None:
    text = (unit * MAX_TEXT)[: MAX_TEXT // 2] + end
    started = time.process_time()
    redact(text)
    redact(text[::-1])
    redact((unit * MAX_TEXT)[:MAX_TEXT] + end)
    redact(unit * 100_000)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer HIDDEN-abcdefgh",
        "basic   HIDDENHIDDEN==",
        "jwt eyJHIDDENHIDDEN.eyJHIDDEN.HIDDEN-sig",
        "postgresql+asyncpg://user:HIDDEN@db:5432/x",
        "redis://:HIDDEN@cache/0",
        "rediss://:pa/HIDDEN@cache",
        "redis://:12/HIDDEN@cache",
        "amqp://user:p@HIDDEN/HIDDEN@broker:5672/vhost",
        "https://user:" + "p" * 600 + "HIDDEN@host",
        f"{PEM}\nHIDDEN/HIDDEN+\nHIDDEN==\n-----END RSA PRIVATE KEY-----",
        f"{PEM}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,HIDDEN\n\nHIDDEN",
        f"secret={PEM}\\nHIDDEN",
        "my-api-key=HIDDEN",
        "MY_API_KEY_2 = HIDDEN",
        "{'client_secret': 'HIDDEN and more HIDDEN', 'x': 1}",
        '{"access_token" : "HIDDEN"}',
        "password: HIDDEN",
        "passwd=HIDDEN",
        "token=HIDDEN&next=1",
        "sk-HIDDENHIDDENHIDDEN",
        "ghp_HIDDENHIDDENHIDDEN",
    ],
)
def test_secrets_do_not_travel(text: str) -> None:
    assert "HIDDEN" not in redact(f"before {text} after")
    assert redact(f"before {text}").startswith("before ")


@pytest.mark.parametrize("text", ["AKIAABCDEFGHIJKLMNOP", "-AKIAABCDEFGHIJKLMNOP."])
def test_cloud_keys_do_not_travel(text: str) -> None:
    assert "AKIA" not in redact(text)


def test_the_rest_is_kept() -> None:
    text = "no seat 9A at https://example.org:8080/a/b@c; the secretary said so"
    assert redact(text) == text
    assert redact("redis://u:x/y@h:6379/0 is down") == "redis://[redacted]@h:6379/0 is down"
    key = "PRIVATE KEY-----"
    assert redact(f"a -----BEGIN {key}x-----END {key} b") == "a [redacted private key] b"
    public = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    assert redact(public) == public
    assert redact("a=1 token=x b=2") == "a=1 token=[redacted] b=2"
    assert redact('"client_secret": "x", "b": 2') == '"client_secret": [redacted], "b": 2'


def test_a_cut_does_not_uncover_a_secret() -> None:
    for length in range(MAX_TEXT - 60, MAX_TEXT + 10):
        assert "HIDDEN" not in redact("x" * (length - 1) + " https://user:HIDDENHIDDEN@host/" + "y" * 100)


def test_of_a_group_the_first_errors_are_told() -> None:
    group = ExceptionGroup("many", [ExceptionGroup("deep", [ValueError("1"), TypeError("token=HIDDEN")]), OSError()])
    found = describe(group)
    assert found.endswith(" [ValueError: 1; TypeError: token=[redacted]; OSError]")
    many = ExceptionGroup("many", [ValueError(str(n)) for n in range(100)])
    assert describe(many).endswith(" [ValueError: 0; ValueError: 1; ValueError: 2; ...]")
    assert len(describe(ExceptionGroup("loud", [ValueError("x" * MAX_TEXT)] * 3)).encode()) <= MAX_TEXT


def test_long_text_is_cut_to_its_limit() -> None:
    for text in ("x" * 1_000_000, "\U0010ffff" * 100_000, "é " * 100_000):
        found = redact(text)
        assert found.endswith(" [cut]")
        assert MAX_TEXT // 2 < len(found.encode()) <= MAX_TEXT
    assert redact("x" * MAX_TEXT) == "x" * MAX_TEXT
