"""Every error of redis-py and of the server becomes one of ours."""

from __future__ import annotations

import asyncio
import inspect
import ssl

import pytest
from redis import exceptions as client
from redis.asyncio import sentinel

from paigeant.errors import (
    BackendCorrupt,
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    OutcomeUnknown,
    PaigeantError,
)
from paigeant_redis.errors import code_in, code_of, elsewhere, explain, lost, refused, translate

WHERE = "host:1"
EXPECTED: dict[type[BaseException], type[PaigeantError]] = {
    client.RedisError: BackendError,
    client.ConnectionError: BackendUnavailable,
    client.TimeoutError: BackendUnavailable,
    client.AuthenticationError: ConfigurationError,
    client.AuthorizationError: ConfigurationError,
    client.BusyLoadingError: BackendUnavailable,
    client.InvalidResponse: BackendUnavailable,
    client.ResponseError: BackendError,
    client.DataError: BackendError,
    client.PubSubError: BackendError,
    client.WatchError: BackendError,
    client.NoScriptError: BackendError,
    client.OutOfMemoryError: BackendUnavailable,
    client.ExecAbortError: BackendError,
    client.ReadOnlyError: BackendUnavailable,
    client.NoPermissionError: ConfigurationError,
    client.ModuleError: BackendError,
    client.LockError: BackendError,
    client.LockNotOwnedError: BackendError,
    client.ChildDeadlockedError: BackendError,
    client.AuthenticationWrongNumberOfArgsError: ConfigurationError,
    client.RedisClusterException: BackendUnavailable,
    client.ClusterError: BackendUnavailable,
    client.ClusterDownError: BackendUnavailable,
    client.AskError: BackendUnavailable,
    client.TryAgainError: BackendUnavailable,
    client.ClusterCrossSlotError: ConfigurationError,
    client.MovedError: BackendUnavailable,
    client.MasterDownError: BackendUnavailable,
    client.SlotNotCoveredError: BackendUnavailable,
    client.MaxConnectionsError: BackendUnavailable,
    client.CrossSlotTransactionError: ConfigurationError,
    client.InvalidPipelineStack: BackendUnavailable,
    client.ExternalAuthProviderError: ConfigurationError,
    client.IncorrectPolicyType: BackendError,
    sentinel.MasterNotFoundError: BackendUnavailable,
    sentinel.SlaveNotFoundError: BackendUnavailable,
    ConnectionResetError: BackendUnavailable,
    OSError: BackendUnavailable,
    asyncio.TimeoutError: BackendUnavailable,
    ssl.SSLError: ConfigurationError,
}
NEWER = {"NoSuchFieldsetError": BackendError}
"""Errors that only the newer of the supported versions of redis-py have."""


def test_every_exception_of_the_client_is_listed() -> None:
    listed = {kind.__name__ for kind in EXPECTED} | NEWER.keys()
    kinds = {name for name, kind in vars(client).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert kinds <= listed


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
def test_exceptions_are_mapped(kind: type[Exception]) -> None:
    exc = kind("1 other:2") if issubclass(kind, client.AskError) else kind("went wrong")
    error = translate(exc, WHERE)
    assert type(error) is EXPECTED[kind]
    assert WHERE in str(error)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", BackendUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", BackendUnavailable),
        ("READONLY You can't write against a read only replica.", BackendUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", BackendUnavailable),
        ("BUSY Redis is busy running a script.", BackendUnavailable),
        ("UNBLOCKED force unblock from blocking operation", BackendUnavailable),
        ("NOPERM this user has no permissions to run the 'xadd' command", ConfigurationError),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", BackendCorrupt),
        ("ERR something new", BackendError),
        ("ERR Error running script: Script killed by user with SCRIPT KILL. on @user_script:1.", BackendUnavailable),
        ("ERR Error running script: @user_script:9: @user_script: 9: -OOM command not allowed", BackendUnavailable),
    ],
)
def test_texts_of_the_server_are_mapped(text: str, kind: type[Exception]) -> None:
    assert type(translate(client.ResponseError(text), WHERE)) is kind
    assert type(explain(code_in(text), text, WHERE)) is kind


@pytest.mark.parametrize("host", ["redis-tls", "ssl.internal", "/run/certificate/redis.sock"])
def test_the_name_of_a_host_makes_no_failure_of_tls(host: str) -> None:
    refusal = client.ConnectionError(f"Error 111 connecting to {host}:6379. Connection refused.")
    assert type(translate(refusal, WHERE)) is BackendUnavailable


def test_a_failure_of_tls_is_known_by_what_the_library_met() -> None:
    try:
        try:
            raise ssl.SSLCertVerificationError("unable to get local issuer")
        except OSError:
            raise client.ConnectionError("Error 1 connecting to host:1.")  # noqa: B904 - as redis-py does
    except client.ConnectionError as exc:
        assert type(translate(exc, WHERE)) is ConfigurationError


def test_ours_pass_unchanged() -> None:
    ours = BackendUnavailable("x")
    assert translate(ours, WHERE) is ours


def test_what_was_refused_was_not_done() -> None:
    assert refused(client.ResponseError("ERR x"))
    assert refused(client.BusyLoadingError("x"))
    assert not refused(client.ConnectionError("closed"))
    assert not refused(client.TimeoutError("slow"))


def test_what_was_sent_and_not_answered_may_have_happened() -> None:
    assert type(lost(client.TimeoutError("slow"), WHERE, changes=True)) is OutcomeUnknown
    assert type(lost(client.TimeoutError("slow"), WHERE, changes=False)) is BackendUnavailable


def test_a_server_that_is_not_the_primary_is_left() -> None:
    assert elsewhere(code_of(client.ReadOnlyError("x")))
    assert elsewhere(code_of(client.MovedError("1 other:2")))
    assert not elsewhere(code_of(client.OutOfMemoryError("x")))
