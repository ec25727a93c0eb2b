"""``paigeant keys``: make key material."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Namespace
from .output import say, show_json

app = typer.Typer(help="Make keys.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps ``init`` a command of the group, which a single command would not be."""


@app.command()
def init(
    path: Annotated[
        Path | None,
        typer.Option(help="New file; default <config directory>/paigeant/<namespace>.key.", show_default=False),
    ] = None,
    signer: Annotated[str, typer.Option(help="Signer plugin that makes the key.")] = "hs256",
    namespace: Namespace = None,
    as_json: Json = False,
) -> None:
    """Write a new key file (mode 0600, never over an existing one) and print the setting that names it."""
    from ..plugins.registry import PluginRegistry

    registry = PluginRegistry()
    used = namespace or registry.settings.namespace
    chosen = (path or _directory() / f"{used}.key").expanduser().absolute()
    registry.init_keys(signer, chosen, namespace=used)
    variable = f"PAIGEANT_{re.sub(r'[^A-Z0-9]', '_', signer.upper())}_KEY_FILE"
    say(f"a new key for namespace {used} is in {chosen}; whoever has it can sign: keep it secret, and give it to")
    say("every dispatcher and worker of the namespace with this setting:")
    if as_json:
        return show_json({"path": str(chosen), "namespace": used, "variable": variable})
    return typer.echo(f"export {variable}={shlex.quote(str(chosen))}")


def _directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "paigeant"
