"""What the settings of Redis accept, refuse and never show."""

from __future__ import annotations

import pytest

from paigeant.errors import ConfigurationError
from paigeant.plugins import CoreSettings, PluginRegistry
from paigeant_redis.settings import Address, RedisSettings


@pytest.mark.parametrize(
    ("url", "location", "login"),
    [
        (None, "redis://localhost:6379/0", (None, None)),
        ("redis://h", "redis://h:6379/0", (None, None)),
        ("redis://h:1/7", "redis://h:1/7", (None, None)),
        ("rediss://u:p%40ss@h:1/", "rediss://h:1/0", ("u", "p@ss")),
        ("redis://u:[p]@h", "redis://h:6379/0", ("u", "[p]")),
        ("redis://:p@[::1]:1/2", "redis://[::1]:1/2", (None, "p")),
        ("redis://[::1]", "redis://[::1]:6379/0", (None, None)),
        ("unix:///run/redis.sock?db=3", "unix:///run/redis.sock?db=3", (None, None)),
    ],
)
def test_urls(url: str | None, location: str, login: tuple[str | None, str | None]) -> None:
    target = RedisSettings(url=url).target()
    assert (target.location, (target.username, target.password)) == (location, login)


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://h:x",
        "redis://h:0",
        "redis://h:70000",
        "redis://h/x",
        "redis://h/1?timeout=3",
        "redis://h#x",
        "redis://[h]",
        "redis://[h",
        "redis://h]:1",
        "redis://[::1",
        "redis://[::1]x:1",
        "redis://a,::1]",
        "unix://relative",
        "unix:///a?x=1",
        "unix:///a?db=x",
    ],
)
def test_malformed_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_URL") as refused:
        RedisSettings(url=url.replace("://", "://user:secret@", 1)).target()
    assert "secret" not in str(refused.value)


def test_several_hosts_need_a_mode() -> None:
    url = "redis://a:1,b,[::2]:3/0"
    with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_MODE"):
        RedisSettings(url=url).target()
    found = RedisSettings(url=url, mode="sentinel").target().hosts
    assert tuple(found) == (Address("a", 1), Address("b", 6379), Address("::2", 3))


def test_a_cluster_has_one_database() -> None:
    with pytest.raises(ConfigurationError, match="database 0"):
        RedisSettings(url="redis://a/1", mode="cluster").target()
    with pytest.raises(ConfigurationError, match="socket"):
        RedisSettings(url="unix:///a", mode="cluster").target()


def test_settings_win_over_the_url_and_hide_secrets() -> None:
    settings = RedisSettings(url="redis://u:secret1@h/1", username="v", password="secret2", db=2)  # type: ignore[arg-type]
    target = settings.target()
    assert (target.username, target.password, target.db) == ("v", "secret2", 2)
    for shown in (repr(settings), repr(target), target.location):
        assert "secret" not in shown


def test_variables_fill_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_REDIS_URL", "redis://h:1")
    monkeypatch.setenv("PAIGEANT_REDIS_MAX_MESSAGE", "2048")
    transport = PluginRegistry(CoreSettings()).transport("redis", namespace="ns")
    assert (transport.location, transport.capabilities.max_message) == ("redis://h:1/0", 2048)


def test_a_wrong_value_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_REDIS_MODE", "flock")
    with pytest.raises(ConfigurationError, match="PAIGEANT_REDIS_MODE"):
        PluginRegistry(CoreSettings()).transport("redis", namespace="ns")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.7", True), ("::1", True), ("10.0.0.1", False), ("redis.example", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 6379).loopback is loopback
    assert Address("/run/redis.sock", 0).loopback
