"""How configuration refers to a plugin: ``name``, ``name:instance`` or a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ConfigurationError

_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_instance = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    :param name: of the plugin; ``None`` for a URL.
    :param instance: of ``name:instance``.
    :param scheme: of the URL, in lower case.
    :param url: the URL as given. It may hold a password: never put it into a message.
    """

    name: str | None = None
    instance: str | None = None
    scheme: str | None = None
    url: str | None = None

    @property
    def shown(self) -> str:
        """What of it may be shown: nothing of a URL but its scheme."""
        return f"{self.scheme}://" if self.name is None else ":".join(filter(None, (self.name, self.instance)))

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``redis``, ``redis:billing`` or ``redis://host:6379/0``.

        :raises ConfigurationError: it is none of them.
        """
        scheme, separator, _ = text.partition("://")
        if separator:
            return cls(scheme=scheme.lower(), url=text)
        name, colon, instance = text.partition(":")
        if not _name.fullmatch(name) or (colon and not _instance.fullmatch(instance)):
            shown = "this value" if "@" in text else repr(text)
            raise ConfigurationError(f"{shown} is neither a plugin name, nor name:instance, nor scheme://...")
        return cls(name=name, instance=instance or None)
