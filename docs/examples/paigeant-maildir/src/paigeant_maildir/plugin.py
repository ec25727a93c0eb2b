"""Registers the transport. This module is imported to list plugins; only the factory imports what costs time."""

from collections.abc import Iterator
from pathlib import Path

from paigeant.abc import Transport
from paigeant.plugins import PluginSettings, TransportPlugin, hookimpl


class MaildirSettings(PluginSettings):
    path: Path = Path("maildir")  # PAIGEANT_MAILDIR_PATH


def make(settings: MaildirSettings) -> Transport:
    from .transport import Maildir

    return Maildir(settings.path.absolute(), settings.namespace)


@hookimpl
def paigeant_transports() -> Iterator[TransportPlugin[MaildirSettings]]:
    yield TransportPlugin("maildir", "Files in a directory of this machine", MaildirSettings, make)
