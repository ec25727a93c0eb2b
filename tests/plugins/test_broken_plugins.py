"""A broken plugin harms nobody else, is never silent, and says why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from paigeant.errors import PaigeantWarning, PluginLoadError, PluginNotFound
from paigeant.plugins import CoreSettings, PluginRegistry

YIELD = 'yield SerializerPlugin("acme", "Acme", PluginSettings, Codec)'
HOOK = f"@hookimpl\ndef paigeant_serializers():\n    {YIELD}\n"

BROKEN = {
    "import": ("import no_such_module_of_acme", "ModuleNotFoundError: No module named 'no_such_module_of_acme'"),
    "syntax": ("def broken(:", "SyntaxError"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "panics": ("class PanicException(BaseException): ...\nraise PanicException('in Rust')", "PanicException: in Rust"),
    "raises": ("@hookimpl\ndef paigeant_serializers():\n    raise RuntimeError('in hook')", "RuntimeError: in hook"),
    "raises late": (HOOK + "    raise RuntimeError('late')", "RuntimeError: late"),
    "async": ("@hookimpl\nasync def paigeant_serializers():\n    return ()", "must be plain functions"),
    "async generator": (HOOK.replace("def ", "async def "), "must be plain functions"),
    "coroutine": (
        "async def late(): return ()\n@hookimpl\ndef paigeant_serializers():\n    return late()",
        "returned a coroutine",
    ),
    "misspelt": (HOOK.replace("serializers():", "serialisers():"), "unknown hook 'paigeant_serialisers'"),
    "misspelt, optional": (
        HOOK.replace("serializers():", "serialisers():").replace("@hookimpl", "@hookimpl(optionalhook=True)"),
        "it has no hook",
    ),
    "arguments": (HOOK.replace("()", "(transport)", 1), "transport"),
    "zero hooks": ("x = 1", "it has no hook"),
    "foreign marker": (
        "import pluggy\nhookimpl = pluggy.HookimplMarker('pytest')\n" + HOOK,
        "paigeant_serializers is not marked with @hookimpl of paigeant.plugins",
    ),
    "no marker": (HOOK.replace("@hookimpl\n", ""), "is not marked with @hookimpl"),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef paigeant_serializers():\n    return (yield)",
        "must not be a hook wrapper",
    ),
    "wrong name": (HOOK.replace('"acme"', '"acne"'), "is named 'acne', its entry point 'acme'"),
    "not a descriptor": (HOOK.replace(YIELD, "yield 'acme'"), "must yield a SerializerPlugin, not str"),
    "wrong descriptor": (HOOK.replace("paigeant_serializers", "paigeant_observers"), "must yield a ObserverPlugin"),
    "not yielded": (HOOK.replace("yield", "return"), "must yield its SerializerPlugin, not return it"),
    "None": (HOOK.replace(YIELD, "return None"), "must yield one SerializerPlugin, not return None"),
    "not iterable": (HOOK.replace(YIELD, "return 7"), "'int' object is not iterable"),
    "nothing": (HOOK.replace(YIELD, "return ()"), "it yielded none"),
    "two": (HOOK + f"    {YIELD}", "it yielded 2"),
    "endless": (HOOK.replace(YIELD, f"while True: {YIELD}"), "it yielded 2"),
    "settings": (HOOK.replace("PluginSettings, Codec", "dict, Codec"), "settings must be a subclass"),
    "factory": (HOOK.replace("PluginSettings, Codec", "PluginSettings, 7"), "must be callable"),
    "summary": (HOOK.replace('"Acme"', "None"), "summary must be a string"),
    "schemes": (
        HOOK.replace("Codec)", "Codec, schemes=('acme'))")
        .replace("serializers", "transports")
        .replace("SerializerPlugin", "TransportPlugin"),
        "schemes must be a tuple",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin(case, site, header) -> None:
    """Listed as broken with the reason, raised from the original when selected, and alone in that."""
    source, reason = BROKEN[case]
    site.install("acme-plugin", "acme", header + source, version="7.1")
    registry = PluginRegistry(CoreSettings(serializers=["acme"]))
    (row,) = [row for row in registry.installed() if row.name == "acme"]
    assert (row.status, row.distribution, row.version) == ("broken", "acme-plugin", "7.1")
    assert reason in row.error
    with pytest.raises(PluginLoadError, match=r"'acme' of distribution acme-plugin 7\.1 is broken") as caught:
        registry.serializers()
    assert caught.value.__cause__ is not None
    assert f"{type(caught.value.__cause__).__name__}: " in row.error
    assert PluginRegistry(CoreSettings()).serializers()[0].media_type == "application/json"
    assert {row.status for row in registry.installed() if row.name == "json"} == {"available"}


@pytest.mark.parametrize("fails", ["", "\nraise RuntimeError"])
def test_what_a_plugin_prints_goes_to_stderr(fails, site, header, capsys) -> None:
    site.install("acme-chatty", "acme", f"print('hello'){fails}\n{header}{HOOK.replace('yield', 'print(7); yield')}")
    PluginRegistry(CoreSettings()).installed()
    assert capsys.readouterr() == ("", "hello\n" if fails else "hello\n7\n")


def test_what_a_factory_prints_goes_to_stderr(site, header, capsys) -> None:
    site.install(
        "acme-chatty", "acme", header + HOOK.replace("Codec)", "lambda settings: print(8) or Codec(settings))")
    )
    PluginRegistry(CoreSettings(serializers=["acme"])).serializers()
    assert capsys.readouterr() == ("", "8\n")


def test_next_plugin_is_not_blamed(site, header, good_codec) -> None:
    """A rejected plugin is unregistered at once: its misspelt hook must not fail the one after it."""
    site.install("aaa-bad", "aaa", header + BROKEN["misspelt"][0])
    site.install("acme-codec", "acme", good_codec)
    rows = {row.name: row.status for row in PluginRegistry().installed()}
    assert rows["aaa"] == "broken"
    assert rows["acme"] == "available"


def test_one_warning_per_broken_plugin_on_a_scan(site, header) -> None:
    site.install("acme-plugin", "acme", header + "raise RuntimeError('at import')")
    registry = PluginRegistry()
    with pytest.warns(PaigeantWarning) as seen, pytest.raises(PluginNotFound):
        registry.transport("absent")
    assert ["RuntimeError: at import" in str(warning.message) for warning in seen] == [True]
    with pytest.raises(PluginNotFound):
        registry.transport("still-absent")


def test_a_broken_plugin_nobody_asked_for_is_not_even_imported(site, header) -> None:
    module = site.install("acme-plugin", "acme", header + "raise RuntimeError('at import')")
    PluginRegistry().transport("inmemory")
    assert not site.imported(module)


def test_strict_raises_at_once(site, header, monkeypatch) -> None:
    site.install("acme-plugin", "acme", header + BROKEN["raises"][0])
    monkeypatch.setenv("PAIGEANT_STRICT_PLUGINS", "1")
    registry = PluginRegistry()
    with pytest.raises(PluginLoadError, match="acme-plugin") as caught:
        registry.transport("inmemory")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "broken" in {row.status for row in registry.installed()}, "the list works all the same"


def test_damaged_metadata_is_shown_and_harms_nobody(site, good_codec) -> None:
    site.metadata("damaged", "[paigeant]\nthis is no entry point\n")
    site.install("acme-codec", "acme", good_codec)
    rows = {row.name: row for row in PluginRegistry().installed()}
    assert rows["damaged"].status == "broken"
    assert rows["acme"].status == "available"


def test_damaged_metadata_of_strangers_is_ignored(site) -> None:
    site.metadata("stranger", "[console_scripts]\nthis is no entry point, nor of paigeant\n")
    assert "stranger" not in {row.name for row in PluginRegistry().installed()}


def test_distributions_without_metadata_are_told_apart(site, good_codec) -> None:
    for number in "12":
        site.install(f"nameless{number}", f"acme{number}", good_codec.replace('"acme"', f'"acme{number}"'))
        next(site.root.glob(f"nameless{number}-*/METADATA")).unlink()
    rows = {row.name: (row.status, row.distribution) for row in PluginRegistry().installed()}
    assert rows["acme1"] == rows["acme2"] == ("available", "unknown")


def test_the_list_works_when_every_plugin_is_broken(tmp_path) -> None:
    """Also the built-in ones, in a process of its own."""
    code = """
import importlib.abc, sys
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("paigeant.builtin."):
            raise ImportError("walled")
sys.meta_path.insert(0, Wall())
from paigeant.plugins import PluginRegistry
rows = [row for row in PluginRegistry().installed() if row.distribution == "paigeant-core"]
assert rows and {row.status for row in rows} == {"broken"}, rows
assert all("walled" in row.error for row in rows), rows
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PAIGEANT_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", ["no module", "acme:", "acme!"])
def test_a_malformed_entry_point_is_named(site, value) -> None:
    site.metadata("damaged", f"[paigeant]\nacme = {value}\n")
    (row,) = [row for row in PluginRegistry().installed() if row.name == "acme"]
    assert (row.status, row.distribution) == ("broken", "damaged")
    assert f"the value of its entry point, {value!r}, must be 'module' or 'module:object'" in row.error
