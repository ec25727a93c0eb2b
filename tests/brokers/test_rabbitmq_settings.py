"""Where the broker is, who we are there, and what is said about wrong settings: never a password."""

from __future__ import annotations

from pathlib import Path
from traceback import format_exception

import pytest
from pydantic import SecretStr

from paigeant.errors import ConfigurationError
from paigeant.plugins import PluginRegistry
from paigeant_rabbitmq.link import tls
from paigeant_rabbitmq.settings import Address, Place, RabbitMQSettings
from paigeant_rabbitmq.transport import RabbitMQTransport


def test_defaults_are_those_of_a_broker_on_this_machine() -> None:
    place = Place.of(RabbitMQSettings())
    assert place == Place((Address("localhost", 5672),), False, "guest", SecretStr("guest"), "/")
    assert RabbitMQTransport(RabbitMQSettings()).loopback


def test_a_url_names_hosts_user_and_virtual_host() -> None:
    place = Place.of(RabbitMQSettings(url="amqps://us%40er:p%2Fw@a,b:5673,[::1]:7/team%2Fx"))
    assert place.addresses == (Address("a", 5671), Address("b", 5673), Address("::1", 7))
    assert (place.tls, place.username, place.password.get_secret_value()) == (True, "us@er", "p/w")
    assert place.vhost == "team/x"
    assert str(place.addresses[2]) == "[::1]:7"


def test_a_bracket_in_a_password_is_one() -> None:
    place = Place.of(RabbitMQSettings(url="amqp://u:[p]@[::1]/"))
    assert (place.addresses, place.password.get_secret_value()) == ((Address("::1", 5672),), "[p]")


def test_settings_of_their_own_win_over_the_url() -> None:
    settings = RabbitMQSettings(url="amqp://a:b@c/d", hosts=("e:1",), username="u", password=SecretStr("p"), vhost="v")
    place = Place.of(settings)
    assert place == Place((Address("e", 1),), False, "u", SecretStr("p"), "v")


def test_the_environment_fills_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIGEANT_RABBITMQ_HOSTS", "one, two:5673")
    monkeypatch.setenv("PAIGEANT_RABBITMQ_PASSWORD", "hush")
    transport = PluginRegistry().transport("rabbitmq", namespace="n")
    assert transport.location == "one:5672,two:5673 (vhost '/')"
    assert transport.namespace == "n"
    assert not transport.loopback


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hush@h/",
        "amqp://u:hush@h:port/",
        "amqp://u:hush@/",
        "amqp://u:hush@h/?heartbeat=5",
        "amqp://u:hush@h:99999/",
        "amqp://u:hush/x@h/",
        "amqp://u:1/hush@h/",
        "amqp://u@hush\u2100/",
        "amqp://u:p@[hush]/",
        "amqp://u:p@a,[hush:5672/",
        "hush://u@h/",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_RABBITMQ_URL") as caught:
        RabbitMQTransport(RabbitMQSettings(url=url))
    assert "hush" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize("host", ["u:hush@h:5672", "h:hush", "[hush]", "h/hush"])
def test_a_wrong_host_is_refused_without_showing_it(host: str) -> None:
    with pytest.raises(ConfigurationError, match="PAIGEANT_RABBITMQ_HOSTS") as caught:
        RabbitMQTransport(RabbitMQSettings(hosts=("one", host)))
    assert "hush" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEARTBEAT", "0"), ("QUEUE_TYPE", "stream"), ("TIMEOUT", "nan"), ("MAX_MESSAGE", "1"), ("CONSUMER_TIMEOUT", "1")],
)
def test_a_wrong_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PAIGEANT_RABBITMQ_{name}", value)
    with pytest.raises(ConfigurationError, match=f"PAIGEANT_RABBITMQ_{name}"):
        PluginRegistry().transport("rabbitmq")


def test_a_password_is_never_shown() -> None:
    settings = RabbitMQSettings(url="amqp://u:hush@h/", password=SecretStr("hush"))
    transport = RabbitMQTransport(settings)
    assert "hush" not in f"{settings!r} {transport.location} {Place.of(settings)!r}"


def test_files_for_tls_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TLS_CA"):
        tls(RabbitMQSettings(tls_ca=tmp_path / "none.pem"))
    assert tls(RabbitMQSettings()).check_hostname
    assert not tls(RabbitMQSettings(tls_verify=False)).check_hostname
