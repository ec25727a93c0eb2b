"""Settings that nobody reads: most often a misspelt name, which would otherwise be silently ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .sources import CONFIG_FILE, CORE_TABLE, PREFIX, SECRETS_DIR, Scope, Sources, variable_prefix, with_hint


def unknown_core(sources: Sources, fields: Collection[str], plugins: Collection[str]) -> Iterator[str]:
    """Variables and TOML keys that belong neither to the core nor to any installed plugin."""
    known = {PREFIX + field.upper() for field in fields} | {CONFIG_FILE, SECRETS_DIR}
    prefixes = tuple(variable_prefix(name) for name in plugins)
    for variable in sorted(sources.variables - known):
        if not variable.startswith(prefixes):
            yield with_hint(variable, known, PREFIX)
    for key in sorted(sources.table(CORE_TABLE).keys() - set(fields)):
        yield f"{with_hint(key, fields)} in table [{CORE_TABLE}] of {sources.toml_file}"
    for key in sorted(sources.tables.keys() - {CORE_TABLE, *plugins}):
        name = (
            f"{key} (it belongs into table [{CORE_TABLE}])" if key in fields else with_hint(key, {CORE_TABLE, *plugins})
        )
        yield f"{name} at the top of {sources.toml_file}"


def unknown_plugin(scope: Scope, fields: Collection[str], plugins: Collection[str]) -> Iterator[str]:
    """Variables and TOML keys of one plugin, or of one instance, that it does not read."""
    longer = tuple(prefix for name in plugins if len(prefix := variable_prefix(name)) > len(scope.prefix))
    known = {scope.prefix + field.upper() for field in fields}
    for variable in sorted(scope.sources.variables):
        if not variable.startswith(scope.prefix) or variable.startswith(longer):
            continue
        name = variable.removeprefix(scope.prefix).lower()
        if name.split("__")[0] not in fields and not _of_instance(scope, name, fields):
            yield with_hint(variable, known, scope.prefix)
    for key, value in sorted(scope.table.items()):
        if key not in fields and not (isinstance(value, dict) and len(scope.path) == 1):
            yield f"{with_hint(key, fields)} in table [{'.'.join(scope.path)}] of {scope.sources.toml_file}"


def _of_instance(scope: Scope, name: str, fields: Collection[str]) -> bool:
    """Whether ``billing_url`` may be the field ``url`` of an instance ``billing``."""
    return len(scope.path) == 1 and name.split("__", maxsplit=1)[0].endswith(tuple(f"_{field}" for field in fields))
