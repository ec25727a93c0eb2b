"""Where settings come from: environment, ``.env``, a secrets directory and one TOML file."""

from __future__ import annotations

import difflib
import logging
import os
import re
import tomllib
import warnings
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from ..errors import ConfigurationError, PaigeantWarning

PREFIX = "PAIGEANT_"
CORE_TABLE = "paigeant"
CONFIG_FILE = "PAIGEANT_CONFIG_FILE"
SECRETS_DIR = "PAIGEANT_SECRETS_DIR"
DEFAULT_FILE = Path("paigeant.toml")
DOTENV = Path(".env")


@dataclass(frozen=True)
class Sources:
    """What was found in the surroundings of this process, read once.

    :param env_file: ``.env`` of the working directory, if there is one.
    :param secrets_dir: one file per setting, named like its variable (``PAIGEANT_SECRETS_DIR``).
    :param toml_file: ``PAIGEANT_CONFIG_FILE``, else ``paigeant.toml`` of the working directory.
    :param tables: its content.
    :param variables: names of the ``PAIGEANT_*`` variables that are set, in upper case.
    """

    env_file: Path | None
    secrets_dir: Path | None
    toml_file: Path | None
    tables: Mapping[str, object]
    variables: frozenset[str]

    @classmethod
    def read(cls) -> Sources:
        """Look around.

        :raises ConfigurationError: a file that is named, or there, cannot be read.
        """
        env_file = DOTENV.absolute() if DOTENV.is_file() else None
        found = {**_read_dotenv(env_file), **os.environ}
        values = {name.upper(): value for name, value in found.items() if name.upper().startswith(PREFIX)}
        toml_file = _toml_file(values.get(CONFIG_FILE))
        return cls(
            env_file,
            _secrets_dir(values.get(SECRETS_DIR)),
            toml_file,
            _read_toml(toml_file),
            frozenset(name for name, value in values.items() if value),
        )

    def table(self, *path: str) -> dict[str, object]:
        """The TOML table of that path; an absent one is empty.

        :raises ConfigurationError: there is something else than a table.
        """
        node: Mapping[str, Any] = self.tables
        for depth, key in enumerate(path, 1):
            child: Any = node.get(key, {})
            if not isinstance(child, dict):
                raise ConfigurationError(
                    f"{self.toml_file}: {'.'.join(path[:depth])!r} must be a table, not {type(child).__name__}"
                )
            node = cast("dict[str, Any]", child)
        return dict(node)


@dataclass(frozen=True)
class Scope:
    """The part of the sources that belongs to the core, to one plugin, or to one instance of it."""

    sources: Sources
    prefix: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, sources: Sources, name: str | None = None, instance: str | None = None) -> Scope:
        """``None`` is the core: ``PAIGEANT_*`` and table ``[paigeant]``."""
        if name is None:
            return cls(sources, PREFIX, (CORE_TABLE,))
        path = (name,) if instance is None else (name, instance)
        return cls(sources, variable_prefix(*path), path)

    @property
    def table(self) -> dict[str, object]:
        return self.sources.table(*self.path)

    def where(self, field: str) -> str:
        """Name the place a field was read from, for an error message."""
        variable = self.prefix + field.upper()
        if variable not in self.sources.variables and field in self.table:
            return f"{field!r} in table [{'.'.join(self.path)}] of {self.sources.toml_file}"
        return variable


def variable_prefix(*path: str) -> str:
    """``("redis", "billing")`` -> ``PAIGEANT_REDIS_BILLING_``."""
    return PREFIX + "".join(re.sub(r"[^A-Z0-9]", "_", part.upper()) + "_" for part in path)


def with_hint(name: str, known: Collection[str], prefix: str = "") -> str:
    """``name`` and, if there is one, the known name nearest to it, compared without their common ``prefix``."""
    words = {one.removeprefix(prefix): one for one in sorted(known)}
    near = difflib.get_close_matches(name.removeprefix(prefix), words, n=1)
    return f"{name} (did you mean {words[near[0]]}?)" if near else name


@contextmanager
def quiet_dotenv() -> Generator[None, None, None]:
    """Its library logs a bad line each time it reads the file, without the path; ``Sources.read`` warns of it."""
    logger, silence = logging.getLogger("dotenv.main"), logging.Filter("nothing")
    logger.addFilter(silence)
    try:
        yield
    finally:
        logger.removeFilter(silence)


def _read_dotenv(path: Path | None) -> dict[str, str | None]:
    if path is None:
        return {}
    try:
        with quiet_dotenv():
            values = dict(dotenv_values(path))
        with path.open(encoding="utf-8") as file:
            bad = [binding.original.line for binding in parse_stream(file) if binding.error]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"cannot read {path}: {exc}; correct or remove it") from exc
    for line in bad:  # from here always, so that Python shows it once, however often the file is read
        warnings.warn(f"line {line} of {path} is ignored: it is not NAME=value", PaigeantWarning, stacklevel=1)
    return values


def _secrets_dir(value: str | None) -> Path | None:
    if not value:
        return None
    path = Path(value).expanduser()
    if not path.is_dir():
        raise ConfigurationError(f"{SECRETS_DIR}: {str(path)!r} is not a directory; create it or unset the variable")
    return path


def _toml_file(value: str | None) -> Path | None:
    if value:
        return Path(value).expanduser()
    return DEFAULT_FILE.absolute() if DEFAULT_FILE.is_file() else None


def _read_toml(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path} ({exc.strerror}); correct or unset {CONFIG_FILE}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigurationError(f"{path} is not valid TOML: {exc}") from exc
