"""Registers the transport. This module is imported to list plugins; only the factory imports what costs time."""

from collections.abc import Iterator
from pathlib import Path

from paigeant.abc import Transport
from paigeant.plugins import PluginSettings, TransportPlugin, hookimpl


class MaildirTransportSettings(PluginSettings):
    path: Path = Path("maildir")  # PAIGEANT_MAILDIR_PATH


def make(settings: MaildirTransportSettings) -> Transport:
    from .transport import MaildirTransport

    return MaildirTransport(settings.path.absolute(), settings.namespace)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[MaildirTransportSettings]]:
    yield TransportPlugin("maildir", "Files in a directory of this machine", MaildirTransportSettings, make)
