"""HS256: signatures that other libraries accept, and keys that only their owner can read."""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import KeySet, OctKey
from jwcrypto.jwk import JWK, JWKSet
from jwcrypto.jws import JWS

from paigeant.builtin.hs256 import keyfile
from paigeant.builtin.hs256.keyfile import ensure_key_file, generate_key_file, read_key_file
from paigeant.builtin.hs256.keys import Hs256Key, base64url, key_id, process_key
from paigeant.errors import ConfigurationError
from paigeant.plugins import CoreSettings, PluginRegistry

SECRET = bytes(range(32))


def jwk(secret: bytes = SECRET, **changes: object) -> dict[str, object]:
    return {"kty": "oct", "alg": "HS256", "k": base64url(secret)} | changes


def write(path: Path, document: object, mode: int = 0o600) -> Path:
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    path.chmod(mode)
    return path


# Signatures


async def test_rfc7515_appendix_a1() -> None:
    """The example of the standard itself."""
    k = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    secret = base64.urlsafe_b64decode(k + "==")
    signing_input = (
        b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    key = Hs256Key(secret, "joe")
    assert base64url(await key.sign(signing_input)) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert await key.verify(signing_input, await key.sign(signing_input))


def test_key_id_is_the_thumbprint_of_other_libraries() -> None:
    expected = OctKey.import_key(SECRET).thumbprint()
    assert JWK(**jwk()).thumbprint() == expected
    assert key_id(SECRET) == f"hs256:{expected[:16]}"


async def test_ours_verify_elsewhere_and_theirs_here() -> None:
    key = Hs256Key(SECRET, "p")
    signing_input = ".".join([base64url(b'{"alg":"HS256"}'), base64url(b"payload")]).encode()
    compact = f"{signing_input.decode()}.{base64url(await key.sign(signing_input))}"
    assert joserfc_jws.deserialize_compact(compact, OctKey.import_key(SECRET), ["HS256"]).payload == b"payload"
    theirs = JWS()
    theirs.deserialize(compact, JWK(**jwk()))
    assert theirs.payload == b"payload"

    joserfc_made = joserfc_jws.serialize_compact({"alg": "HS256"}, b"other", OctKey.import_key(SECRET), ["HS256"])
    jwcrypto_made = JWS(b"other")
    jwcrypto_made.add_signature(JWK(**jwk()), None, {"alg": "HS256"})
    for made in (joserfc_made, jwcrypto_made.serialize(compact=True)):
        head, _, signature = made.rpartition(".")
        assert await key.verify(head.encode(), base64.urlsafe_b64decode(signature + "=="))


async def test_key_files_are_read_by_other_libraries_and_theirs_by_us(tmp_path) -> None:
    generate_key_file(tmp_path / "ours.json")
    (secret,) = read_key_file(tmp_path / "ours.json")
    text = (tmp_path / "ours.json").read_text()
    (key,) = KeySet.import_key_set(json.loads(text)).keys
    assert key.raw_value == secret
    assert key.kid == key_id(secret)
    (other,) = JWKSet.from_json(text)["keys"]
    assert other.get_op_key("sign") == base64url(secret)

    made = OctKey.generate_key(256, parameters={"alg": "HS256", "use": "sig"})
    theirs = write(tmp_path / "theirs.json", KeySet([made]).as_dict(private=True))
    assert read_key_file(theirs) == [made.raw_value]


@given(st.binary(max_size=50), st.binary(max_size=50))
async def test_verify_is_false_for_anything_else(signing_input, signature) -> None:
    key = Hs256Key(SECRET, "p")
    good = hmac.new(SECRET, signing_input, hashlib.sha256).digest()
    assert await key.verify(signing_input, good)
    assert await key.verify(signing_input, signature) is (signature == good)
    assert not await key.verify(signing_input + b".", good)
    assert not await key.verify(signing_input, good[:-1])
    assert not await key.verify(signing_input, good + b"\0")
    assert not await Hs256Key(SECRET[::-1], "p").verify(signing_input, good)


@pytest.mark.parametrize("signature", [None, "text", "é", 7, [1], bytearray(31)])
async def test_verify_never_raises(signature) -> None:
    assert not await Hs256Key(SECRET, "p").verify(b"input", signature)


def test_a_key_does_not_show_its_secret() -> None:
    key = Hs256Key(b"s3cr3t" * 6, "p")
    assert "s3cr3t" not in f"{key!r} {key} {key.kid}"


# The plugin


def test_without_any_key_both_remedies_are_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PluginRegistry().signers()
    for remedy in ("paigeant keys init", "PAIGEANT_HS256_KEY_FILE", "PAIGEANT_SECURITY=insecure"):
        assert remedy in str(caught.value)


def test_the_first_key_signs_and_all_verify(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "keys.json", {"keys": [jwk(b"a" * 32), jwk(b"b" * 32)]})
    monkeypatch.setenv("PAIGEANT_HS256_KEY_FILE", str(path))
    monkeypatch.setenv("PAIGEANT_NAMESPACE", "team")
    signers, verifiers = PluginRegistry().signers(default_key="process")
    assert [key.kid for key in signers] == [key_id(b"a" * 32)]
    assert [key.kid for key in verifiers] == [key_id(b"a" * 32), key_id(b"b" * 32)]
    assert {key.principal for key in verifiers} == {"namespace:team"}
    monkeypatch.setenv("PAIGEANT_HS256_PRINCIPAL", "service:billing")
    assert {key.principal for key in PluginRegistry().signers(namespace="x")[1]} == {"service:billing"}


def test_process_keys_are_one_per_namespace() -> None:
    registry = PluginRegistry()
    kids = [registry.signers(namespace=name, default_key="process")[0][0].kid for name in ("a", "a", "b")]
    assert kids[0] == kids[1] != kids[2]


def test_a_forked_process_has_a_key_of_its_own(monkeypatch) -> None:
    mine = process_key("fork")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert process_key("fork") != mine


def test_a_default_key_file_is_made_on_first_use(tmp_path) -> None:
    path = tmp_path / "new" / "keys" / "hs256.json"
    kids = {PluginRegistry().signers(default_key=path)[0][0].kid for _ in range(2)}
    assert len(kids) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path], "no draft is left behind"


def test_the_default_key_cannot_be_set_by_a_variable(monkeypatch) -> None:
    monkeypatch.setenv("PAIGEANT_HS256_DEFAULT_KEY", "process")
    with pytest.warns(UserWarning, match="PAIGEANT_HS256_DEFAULT_KEY"), pytest.raises(ConfigurationError):
        PluginRegistry(CoreSettings()).signers()


def test_init_keys(tmp_path) -> None:
    registry = PluginRegistry()
    registry.init_keys("hs256", tmp_path / "key.json")
    assert len(read_key_file(tmp_path / "key.json")) == 1
    before = (tmp_path / "key.json").read_bytes()
    with pytest.raises(ConfigurationError, match=r"key\.json exists already"):
        registry.init_keys("hs256", tmp_path / "key.json")
    assert (tmp_path / "key.json").read_bytes() == before


# Key files


def test_processes_that_race_agree_on_one_key(tmp_path) -> None:
    """Real processes, released at the same moment by one pipe that closes."""
    path = tmp_path / "keys" / "hs256.json"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from paigeant.builtin.hs256.keyfile import ensure_key_file\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        f"print(ensure_key_file(Path({str(path)!r}))[0].hex())\n"
    )
    gate, hold = os.pipe()
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=gate, stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    os.close(gate)
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 6
    os.close(hold)
    keys = {racer.communicate(timeout=30)[0] for racer in racers}
    assert len(keys) == 1
    assert keys == {read_key_file(path)[0].hex() + "\n"}
    assert list(path.parent.iterdir()) == [path]


def test_the_loser_of_a_race_reads_the_winners_key(tmp_path, monkeypatch) -> None:
    """The window between looking and linking, made certain."""
    path = tmp_path / "key.json"
    link = os.link

    def lose(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        generate_key_file(target)
        link(source, target)

    monkeypatch.setattr(os, "link", lose)
    secrets = ensure_key_file(path)
    assert secrets == read_key_file(path)
    assert list(tmp_path.glob(".key.json*")) == []


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keyfile.os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"cannot write the key file .*: No space left on device"):
        ensure_key_file(tmp_path / "key.json")
    assert list(tmp_path.iterdir()) == []


def test_the_mode_does_not_depend_on_the_umask(tmp_path) -> None:
    previous = os.umask(0o277)
    try:
        generate_key_file(tmp_path / "key.json")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(mode, tmp_path) -> None:
    path = write(tmp_path / "key.json", {"keys": [jwk()]}, mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}.*chmod 600 '{path}'"):
        read_key_file(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_accepted(mode, tmp_path) -> None:
    assert read_key_file(write(tmp_path / "key.json", {"keys": [jwk()]}, mode)) == [SECRET]


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "key.json", {"keys": [jwk()]})
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigurationError, match=f"belongs to user {owner}.*chown {owner + 1}"):
        read_key_file(path)


def test_a_symbolic_link_to_a_private_file_is_followed(tmp_path) -> None:
    write(tmp_path / "key.json", {"keys": [jwk()]})
    (tmp_path / "link").symlink_to(tmp_path / "key.json")
    assert read_key_file(tmp_path / "link") == [SECRET]


def test_files_that_are_none(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist; make one with `paigeant keys init`"):
        read_key_file(tmp_path / "absent")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for read in (read_key_file, ensure_key_file):
        with pytest.raises(ConfigurationError, match="symbolic links form a loop"):
            read(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_key_file(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match=r"not a regular file|Is a directory"):
        read_key_file(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot open the key file"):
        read_key_file(Path("nul\0byte"))
    with pytest.raises(ConfigurationError, match="cannot write the key file"):
        generate_key_file(write(tmp_path / "file", b"") / "below")


def test_a_dangling_link_is_not_written_through(tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="does not exist"):
        ensure_key_file(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "no set of HS256 keys"),
        (b"\xff\xfe garbage", "no set of HS256 keys"),
        (b"[" * 60_000, "no set of HS256 keys"),
        (b" " * 70_000, "larger than 65536 bytes"),
        (b'{"keys": [], "keys": []}', "a key occurs twice"),
        ([], "must be a JWK Set"),
        ("text", "must be a JWK Set"),
        ({"keys": []}, "at least one key"),
        ({"keys": "abc"}, "must be a JWK Set"),
        (jwk(), "must be a JWK Set"),
        ({"keys": [7]}, '"kty": "oct"'),
        ({"keys": [jwk(kty="RSA")]}, '"kty": "oct"'),
        ({"keys": [jwk(alg="HS512")]}, '"alg": "HS256"'),
        ({"keys": [jwk(alg="none")]}, '"alg": "HS256"'),
        ({"keys": [{"kty": "oct", "k": base64url(SECRET)}]}, '"alg": "HS256"'),
        ({"keys": [jwk(use="enc")]}, '"use"'),
        ({"keys": [jwk(k=7)]}, '"k"'),
        ({"keys": [jwk(k="")]}, "not base64url"),
        ({"keys": [jwk(k=base64url(SECRET) + "=")]}, "not base64url"),
        ({"keys": [jwk(k="+/" + base64url(SECRET)[2:])]}, "not base64url"),
        ({"keys": [jwk(k="é" * 43)]}, "not base64url"),
        ({"keys": [jwk(k=base64url(SECRET)[:-1] + "9")]}, "not base64url"),
        ({"keys": [jwk(b"x" * 31)]}, "a key has 31 bytes; HS256 needs 32"),
        ({"keys": [jwk(), jwk(b"short")]}, "a key has 5 bytes"),
        ({"keys": [jwk(), jwk()]}, "holds one key twice"),
    ],
)
def test_a_damaged_key_file(document, message, tmp_path) -> None:
    path = write(tmp_path / "key.json", document)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_key_file(path)
    assert str(path) in str(caught.value)
    assert base64url(SECRET)[:20] not in str(caught.value)


@given(st.binary(max_size=100))
def test_any_file_is_read_or_refused(tmp_path_factory, data) -> None:
    path = write(tmp_path_factory.mktemp("keys") / "key.json", data)
    with pytest.raises(ConfigurationError):
        read_key_file(path)
