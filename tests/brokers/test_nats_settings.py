"""Settings and the URL of NATS."""

from __future__ import annotations

from traceback import format_exception

import pytest
from pydantic import SecretStr

from paigeant.errors import ConfigurationError
from paigeant_nats.login import client_options, make_context
from paigeant_nats.settings import NatsSettings, Servers


def options(**values: object) -> dict[str, object]:
    settings = NatsSettings.model_validate(values)
    servers = settings.servers
    found = client_options(settings, servers, make_context(settings, servers))
    return {key: value() if callable(value) else value for key, value in found.items()}


def test_without_a_url_it_is_this_machine() -> None:
    servers = NatsSettings().servers
    assert (servers.urls, servers.loopback, servers.tls) == (("nats://localhost:4222",), True, False)


def test_several_hosts_share_port_scheme_and_credentials() -> None:
    servers = Servers.parse("tls://bob:p%40ss@a:1,b,[::1]:3/")
    assert servers.urls == ("tls://a:1", "tls://b:4222", "tls://[::1]:3")
    assert (servers.user, servers.password, servers.tls, servers.loopback) == ("bob", "p@ss", True, False)
    assert servers.shown == "a:1,b:4222,[::1]:3"


@pytest.mark.parametrize(
    "url",
    [
        "nats://",
        "redis://s3cret@a",
        "nats://s3cret@a/path",
        "nats://s3cret@a?x=1",
        "nats://s3cret@a:port",
        "nats://s3cret@a:99999",
        "nats://s3cret@",
        "nats://s3cret@a,other@b",
        "nats://s3cret@[::1",
        "nats://s3cret@a b",
        "nats://u:s3cret,x@a",
    ],
)
def test_a_broken_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_NATS_URL") as caught:
        Servers.parse(url)
    assert "s3cret" not in "".join(format_exception(caught.value))


def test_no_secret_is_shown() -> None:
    settings = NatsSettings(url="nats://bob:s3cret@a", password=SecretStr("s3cret"), token=SecretStr("s3cret"))
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(settings.servers)


def test_user_and_password_of_the_url_are_decoded() -> None:
    found = options(url="nats://bob:p%40ss@a")
    assert (found["user"], found["password"]) == ("bob", "p@ss")


def test_settings_win_over_the_url() -> None:
    found = options(url="nats://bob:one@a", username="eve", password="two")
    assert (found["user"], found["password"]) == ("eve", "two")


def test_a_name_alone_is_a_token() -> None:
    assert options(url="nats://t0ken@a")["token"] == "t0ken"
    assert options(token="t0ken")["token"] == "t0ken"


def test_no_credentials_before_tls_stands() -> None:
    settings = NatsSettings(url="tls://bob:s3cret@a")
    tell = client_options(settings, settings.servers, make_context(settings, settings.servers))["password"]
    with pytest.raises(Exception, match="secure connection"):
        tell()


def test_an_unreadable_certificate_names_the_file() -> None:
    with pytest.raises(ConfigurationError, match="/no/such"):
        options(url="tls://a", tls_ca="/no/such.pem")


@pytest.mark.parametrize(
    "values", [{"replicas": 0}, {"replicas": 6}, {"timeout": 0}, {"domain": "a.b"}, {"inbox_prefix": "a.>"}]
)
def test_values_have_bounds(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        NatsSettings.model_validate(values)


def test_each_host_may_repeat_the_scheme_but_not_change_it() -> None:
    assert Servers.parse("nats://a,nats://b:4223") == Servers.parse("nats://a,b:4223")
    with pytest.raises(ConfigurationError):
        Servers.parse("nats://a,tls://b")
