"""``paigeant new-plugin``: a distribution that works and whose tests pass, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from ..errors import ConfigurationError
from .options import Json
from .output import say, show_json


class Kind(StrEnum):
    """What can be generated."""

    TRANSPORT = "transport"
    SIGNER = "signer"
    SERIALIZER = "serializer"
    STORE = "store"


_MODULE: Final = {Kind.TRANSPORT: "transport", Kind.SIGNER: "key", Kind.SERIALIZER: "codec", Kind.STORE: "store"}
_TRY: Final = {
    Kind.TRANSPORT: "PAIGEANT_TRANSPORT={name}",
    Kind.SIGNER: "PAIGEANT_SIGNERS={name}",
    Kind.SERIALIZER: "PAIGEANT_SERIALIZERS={name},json",
    Kind.STORE: "PAIGEANT_STATE_STORE={name}",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST = 40
_OURS: Final = {"core", "all", "cli", "agents", "redis", "rabbitmq", "nats", "none", "state"}


def new_plugin(
    kind: Annotated[Kind, typer.Argument(help="What it provides.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name in configuration: letters, digits, '-'.", show_default=False)],
    directory: Annotated[
        Path | None, typer.Option(help="New directory; default ./paigeant-NAME.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate a distribution with a working plugin and its conformance tests."""
    values = substitutions(kind, _checked(name))
    target = (directory or Path(values["distribution"])).expanduser().absolute()
    written = _write(target, render(kind, values))
    if as_json:
        return show_json({"path": str(target), "kind": kind, **values, "files": written})
    say(f"a {kind} named {values['name']} is in {target}; its tests pass as it is:")
    typer.echo(f"cd {target}\npip install -e '.[test]'\npytest")
    return say(f"installed, it is used with {_TRY[kind].format(name=values['name'])}")


def substitutions(kind: Kind, name: str) -> dict[str, str]:
    """What the templates may name."""
    from importlib.metadata import version

    major, minor = (int(part) for part in version("paigeant-core").split(".")[:2])
    return {
        "kind": "state store" if kind is Kind.STORE else kind.value,
        "name": name,
        "distribution": f"paigeant-{name}",
        "package": f"paigeant_{name.replace('-', '_')}",
        "class_name": "".join(part.capitalize() for part in (*name.split("-"), _MODULE[kind])),
        "variable": name.replace("-", "_").upper(),
        "minimum": f"{major}.{minor}",
        "next": f"{major}.{minor + 1}",
    }


def render(kind: Kind, values: Mapping[str, str]) -> dict[str, str]:
    """The files of the distribution: paths with their text."""
    package = f"src/{values['package']}"
    paths = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": f"{kind}/README.md",
        f"{package}/__init__.py": "common/init.py",
        f"{package}/plugin.py": f"{kind}/plugin.py",
        f"{package}/{_MODULE[kind]}.py": f"{kind}/{_MODULE[kind]}.py",
        f"tests/test_{values['package'].removeprefix('paigeant_')}.py": f"{kind}/test.py",
    }
    templates = files(__package__ or "") / "templates"
    found = {path: templates.joinpath(f"{source}.tmpl").read_text(encoding="utf-8") for path, source in paths.items()}
    return {path: Template(text).substitute(values) for path, text in found.items()} | {f"{package}/py.typed": ""}


def _checked(name: str) -> str:
    """The name, if a plugin, a distribution and a package can have it and no installed plugin does.

    :raises ConfigurationError: otherwise.
    """
    from importlib.metadata import entry_points

    bare = name.removeprefix("paigeant-")
    keywords = keyword.iskeyword(bare) or keyword.iskeyword(bare.capitalize())
    if not _NAME.fullmatch(bare) or len(bare) > _LONGEST or keywords:
        raise ConfigurationError(
            f"{name!r} cannot name a plugin; use lower-case letters and digits, in words joined by '-', "
            f"at most {_LONGEST} characters, such as 'acme-queue'"
        )
    if bare.startswith("test"):
        raise ConfigurationError(f"{name!r} cannot name a plugin: pytest would take its classes for tests")
    taken = {point.name.replace("_", "-") for point in entry_points(group="paigeant")}
    if bare in taken | _OURS:
        raise ConfigurationError(f"the name {bare!r} is taken by a plugin or by Paigeant itself; choose another one")
    return bare


def _write(target: Path, texts: Mapping[str, str]) -> list[str]:
    """Write all files into a directory that is made here.

    :raises ConfigurationError: it exists, or cannot be written.
    """
    try:
        target.mkdir(parents=True)
        for path, text in texts.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except FileExistsError as exc:
        raise ConfigurationError(f"{exc.filename} exists already; choose another --directory") from exc
    except OSError as exc:
        raise ConfigurationError(f"cannot write {exc.filename}: {exc.strerror}; choose another --directory") from exc
    return sorted(texts)
