"""RabbitMQ and its Erlang, settled in the directory they were unpacked to."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

ROOTS = ("rabbit", "rabbitmq_prelaunch", "syslog")


def settle(root: Path) -> None:
    """Tell Erlang where it lives, and remove the plugins that a plain server does not load.

    Every module is looked for in every plugin: without those of no use, a server starts in half the time.
    """
    erlang = root / "usr/lib/erlang"
    for script in [erlang / "bin/erl", *erlang.glob("erts-*/bin/erl")]:
        script.write_text(
            script.read_text().replace("ROOTDIR=/usr/lib/erlang\n", f"ROOTDIR={shlex.quote(str(erlang))}\n")
        )
    [plugins] = (root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/plugins")
    needed = _needed(plugins)
    for plugin in plugins.iterdir():
        if plugin.is_dir() and plugin.name.rpartition("-")[0] not in needed:
            shutil.rmtree(plugin)


def _needed(plugins: Path) -> set[str]:
    """The applications that a server without plugins starts, with all they depend on."""
    found: set[str] = set()
    wanted = list(ROOTS)
    while wanted:
        name = wanted.pop()
        for file in plugins.glob(f"{name}-*/ebin/{name}.app"):
            if name not in found:
                found.add(name)
                wanted += _applications(file.read_text())
    return found


def _applications(text: str) -> list[str]:
    lists = re.findall(r"\{\s*(?:included_|optional_)?applications\s*,\s*\[([^\]]*)\]", text)
    return [name.strip(" \t\r\n'") for listed in lists for name in listed.split(",")]
