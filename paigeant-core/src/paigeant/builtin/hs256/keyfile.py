"""Key files: a JWK Set (RFC 7517) of ``oct`` keys that only its owner can read."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, SerializationError
from ..plain import unique_dict
from .keys import KEY_BYTES, base64url, key_id

MAX_FILE = 64 * 1024
"""Bytes; a key file holds a few keys of a hundred bytes each."""

_HINT = "make one with `paigeant keys init`"


def read_key_file(path: Path) -> list[bytes]:
    """The secrets in a key file, in order, at least one.

    :raises ConfigurationError: it is missing, others could read or replace it, or it is no such set.
    """
    return _parse(_read(path), path)


def generate_key_file(path: Path) -> None:
    """Write a new file with one random key, mode 0600, never over an existing one.

    :raises ConfigurationError: the file is there already, or cannot be written.
    """
    if not _create(path):
        raise ConfigurationError(f"{path} exists already; choose another path, or move the old key away")


def ensure_key_file(path: Path) -> list[bytes]:
    """As ``read_key_file``, but a missing file is made first. Of processes that race, one makes it
    and all read that one.

    :raises ConfigurationError: as the other two.
    """
    if not os.path.lexists(path):
        _create(path)
    return read_key_file(path)


def _create(path: Path) -> bool:
    """Whether this call made the file; ``False`` if there is one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _publish(_document(secrets.token_bytes(KEY_BYTES)), path)
    except OSError as exc:
        raise ConfigurationError(f"cannot write the key file {path}: {exc.strerror}") from exc


def _publish(content: bytes, path: Path) -> bool:
    """Make the file appear whole or not at all: ``link`` fails if the name is taken, ``rename`` would not."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync_directory(path.parent)
    return True


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _document(secret: bytes) -> bytes:
    key = {"kty": "oct", "alg": "HS256", "use": "sig", "kid": key_id(secret), "k": base64url(secret)}
    return json.dumps({"keys": [key]}, indent=2).encode() + b"\n"


def _read(path: Path) -> bytes:
    try:
        # Non-blocking, so that a named pipe cannot hang the start; everything is checked on what was opened.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise ConfigurationError(f"the key file {path} does not exist; {_HINT}") from exc
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"cannot open the key file {path}: {_reason(exc)}") from exc
    try:
        with os.fdopen(fd, "rb") as file:
            _check_access(os.fstat(fd), path)
            return file.read(MAX_FILE + 1)
    except OSError as exc:
        raise ConfigurationError(f"cannot read the key file {path}: {_reason(exc)}") from exc


def _reason(exc: OSError | ValueError) -> str:
    if isinstance(exc, OSError) and exc.errno == errno.ELOOP:
        return "its symbolic links form a loop"
    return str(getattr(exc, "strerror", exc))


def _check_access(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"the key file {path} is not a regular file; {_HINT}")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"the key file {path} belongs to user {status.st_uid}, who could replace the key, and not to user "
            f"{os.geteuid()}, who runs this: chown {os.geteuid()} '{path}'"
        )
    if status.st_mode & 0o077:
        raise ConfigurationError(
            f"the key file {path} has mode {stat.S_IMODE(status.st_mode):04o}, so others have access to the key: "
            f"chmod 600 '{path}'"
        )


def _parse(data: bytes, path: Path) -> list[bytes]:
    if len(data) > MAX_FILE:
        raise ConfigurationError(f"the key file {path} is larger than {MAX_FILE} bytes; {_HINT}")
    try:
        document = json.loads(data.decode(), object_pairs_hook=unique_dict)
        found = [_secret(jwk) for jwk in _members(document)]
    except (ValueError, RecursionError, SerializationError) as exc:
        # ``from None``: a JSON error keeps the whole text, and so the keys, in ``exc.doc``.
        raise ConfigurationError(f"the key file {path} is no set of HS256 keys: {exc}; {_HINT}") from None
    if len(set(found)) != len(found):
        raise ConfigurationError(f"the key file {path} holds one key twice; remove one of the two")
    return found


def _members(document: Any) -> Sequence[Any]:
    match document:
        case {"keys": [*keys]} if keys:
            return keys
        case _:
            raise ValueError('it must be a JWK Set (RFC 7517): {"keys": [...]} with at least one key')


def _secret(jwk: Any) -> bytes:
    match jwk:
        case {"kty": "oct", "alg": "HS256", "k": str(text)} if jwk.get("use", "sig") == "sig":
            secret = _decode(text)
        case _:
            raise ValueError('every key needs "kty": "oct", "alg": "HS256" and "k", and no "use" but "sig"')
    if len(secret) < KEY_BYTES:
        raise ValueError(f"a key has {len(secret)} bytes; HS256 needs {KEY_BYTES} (RFC 7518, 3.2)")
    return secret


def _decode(text: str) -> bytes:
    try:
        secret = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        secret = b""
    if not secret or base64url(secret) != text:
        raise ValueError('member "k" of a key is not base64url without padding (RFC 7515, 2)')
    return secret
