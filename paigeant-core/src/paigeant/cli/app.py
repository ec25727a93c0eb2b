"""The commands. What a command works with is imported when it runs, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from . import dead_letters, keys, workflows
from .dispatch import dispatch
from .doctor import doctor
from .inspect import plugins, queues
from .new_plugin import new_plugin
from .worker import worker

app = typer.Typer(
    help="Durable workflows over the message broker you already run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"paigeant {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj["debug"] = debug


app.command()(worker)
app.command()(dispatch)
app.command()(plugins)
app.command()(queues)
app.command()(doctor)
app.command("new-plugin")(new_plugin)
app.add_typer(workflows.app, name="workflows")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(keys.app, name="keys")
