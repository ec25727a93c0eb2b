"""The suite for plugins: how they register, what importing them costs, and what their factories make."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from ..errors import PluginError
from ..plugins import CoreSettings, PluginInfo, PluginRegistry
from .kit import Suite, conformance, skip
from .rules import RULES, check, fail, read_rules

GROUP = "paigeant"


class PluginSuite(Suite):
    """How an installed plugin behaves. Its rules:

    * **P01** The entry point of group ``paigeant`` has the name of the descriptors; one distribution has it.
    * **P02** Importing the plugin module imports no client library; the factory does.
    * **P03** The factory is synchronous and without I/O; what it makes honours ``settings.namespace``.
    * **P04** A URL of a declared scheme selects the plugin.
    * **P05** Each descriptor has a summary of one line.

    ::

        class TestMaildirPlugin(PluginSuite):
            name = "maildir"
            kinds = ("transport",)
            client_libraries = ("aiofiles",)

            def environment(self, tmp_path: Path) -> dict[str, str]:
                return {"PAIGEANT_MAILDIR_PATH": str(tmp_path)}
    """

    name: ClassVar[str] = ""
    """Name of the entry point."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """What it registers: ``transport``, ``state store``, ``serializer``, ``signer``, ``observer``."""

    client_libraries: ClassVar[tuple[str, ...]] = ()
    """Modules that only the factory may import."""

    urls: ClassVar[tuple[str, ...]] = ()
    """A URL for each scheme it serves."""

    def environment(self, tmp_path: Path) -> Mapping[str, str]:
        """Variables that configure it."""
        return {}

    @conformance()
    async def test_P01_the_entry_point_has_the_name(self, tmp_path: Path) -> None:
        points = self._points()
        check(
            len(points) == 1,
            "P01",
            f"{len(points)} entry points named {self.name!r} in group {GROUP!r}",
            f'declare [project.entry-points.{GROUP}] {self.name} = "your_package.plugin" and install it',
        )
        rows = self._rows(tmp_path)
        broken = [row.error for row in rows if row.status != "available"]
        check(not broken, "P01", f"the plugin is not available: {broken}", "see the error")
        kinds = sorted(row.kind for row in rows)
        check(kinds == sorted(self.kinds), "P01", f"registers {kinds}, not {sorted(self.kinds)}", "set `kinds`")

    @conformance()
    async def test_P02_importing_the_plugin_is_cheap(self, tmp_path: Path) -> None:
        modules = {point.module for point in self._points()}
        program = (
            f"import sys\nfor name in {sorted(modules)!r}: __import__(name)\n"
            f"print(*[name for name in {self.client_libraries!r} if name in sys.modules])"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: ASYNC221
        check(result.returncode == 0, "P02", f"import fails: {result.stderr[-300:]}", "see the error")
        found = result.stdout.split()
        check(not found, "P02", f"importing {sorted(modules)} imports {found}", "import them in the factory")

    @conformance()
    async def test_P03_the_factory_honours_the_namespace(self, tmp_path: Path) -> None:
        for kind in self._backends() or skip("neither a transport nor a state store"):
            for namespace in ("first", "second"):
                made = self._make(tmp_path, kind, self.name, namespace)
                check(
                    made.namespace == namespace,
                    "P03",
                    f"asked for namespace {namespace!r}, the {kind} has {made.namespace!r}",
                    "pass settings.namespace on",
                )

    @conformance()
    async def test_P03_the_factory_touches_nothing(self, tmp_path: Path) -> None:
        before = _files(tmp_path)
        for kind in self.kinds:
            self._make(tmp_path, kind, self.name, "first")
        after = _files(tmp_path)
        check(before == after, "P03", f"the factory made {set(after) - set(before)}", "do I/O in connect()")

    @conformance()
    async def test_P04_urls_select_it(self, tmp_path: Path) -> None:
        if not self.urls:
            skip("no `urls`")
        for kind in self._backends():
            for url in self.urls:
                plain, by_url = (self._make(tmp_path, kind, name, "first") for name in (self.name, url))
                check(
                    type(by_url) is type(plain),
                    "P04",
                    f"{url!r} gives a {type(by_url).__name__}, {self.name!r} a {type(plain).__name__}",
                    "declare the scheme in `schemes`",
                )

    @conformance()
    async def test_P05_summaries_are_one_line(self, tmp_path: Path) -> None:
        for row in self._rows(tmp_path):
            if row.status != "available":
                continue  # P01 tells why
            check(
                row.summary.strip() and "\n" not in row.summary and len(row.summary) <= 100,
                "P05",
                f"the summary of the {row.kind} is {row.summary!r}",
                "write one line of at most 100 characters",
            )

    def _points(self) -> list[EntryPoint]:
        return list(entry_points(group=GROUP, name=self.name))

    def _rows(self, tmp_path: Path) -> list[PluginInfo]:
        with mock.patch.dict(os.environ, self.environment(tmp_path)):
            return [row for row in PluginRegistry().installed() if row.name == self.name]

    def _backends(self) -> list[str]:
        """Those of ``kinds`` that keep something, in a namespace, and that a URL may select."""
        return [kind for kind in self.kinds if kind in {"transport", "state store"}]

    def _make(self, tmp_path: Path, kind: str, name: str, namespace: str) -> Any:
        with mock.patch.dict(os.environ, self.environment(tmp_path)):
            try:
                match kind:
                    case "transport":
                        return PluginRegistry(CoreSettings()).transport(name, namespace=namespace)
                    case "state store":
                        return PluginRegistry(CoreSettings()).state_store(name, namespace=namespace)
                    case "serializer":
                        return PluginRegistry(CoreSettings(serializers=[name])).serializers()
                    case "signer":
                        registry = PluginRegistry(CoreSettings(signers=[name]))
                        return registry.signers(namespace=namespace, default_key="process")
                    case _:
                        return PluginRegistry(CoreSettings(observers=[name])).observers()
            except PluginError as exc:
                fail("P04" if "://" in name else "P03", f"{name!r}: {exc}", "see the error")


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*"))


RULES.update(read_rules(PluginSuite.__doc__ or ""))
