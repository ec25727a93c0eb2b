"""The settings of the core and the base class of those of plugins."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ..errors import ConfigurationError
from ..model.names import NAMESPACE, check_namespace
from .reference import Reference
from .sources import Scope, Sources, quiet_dotenv

S = TypeVar("S", bound="PluginSettings")

_scope: ContextVar[Scope | None] = ContextVar("paigeant_settings_scope", default=None)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for raw in value.split(",") if (part := raw.strip()))
    return value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise ValueError("a name is listed twice")
    return value


def _reference(value: str) -> str:
    try:
        Reference.parse(value)
    except ConfigurationError:
        raise ValueError("neither a plugin name, nor name:instance, nor scheme://...") from None
    return value


def _namespace(value: str) -> str:
    try:
        return check_namespace(value)
    except ConfigurationError:
        raise ValueError(f"must match {NAMESPACE}") from None


PluginReference = Annotated[str, AfterValidator(_reference)]
Namespace = Annotated[str, AfterValidator(check_namespace)]
"""Of a plugin: no setting of its own, so the error names that of the core, not ``PAIGEANT_<NAME>_NAMESPACE``."""
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list of words: comma-separated in a variable, an array in TOML."""
References = Annotated[tuple[PluginReference, ...], NoDecode, BeforeValidator(_split), AfterValidator(_distinct)]


class _Sourced(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins: arguments, environment, ``.env``, secrets directory, TOML.

        Without a scope only arguments count: a class has no prefix of its own, and a field ``path``
        must never be filled from ``PATH``.
        """
        scope = _scope.get()
        if scope is None:
            return (init_settings,)
        prefix, sources = scope.prefix, scope.sources
        return (
            init_settings,
            EnvSettingsSource(settings_cls, env_prefix=prefix, env_nested_delimiter="__", env_ignore_empty=True),
            DotEnvSettingsSource(
                settings_cls,
                env_file=sources.env_file,
                env_prefix=prefix,
                env_nested_delimiter="__",
                env_ignore_empty=True,
            ),
            SecretsSettingsSource(
                settings_cls, secrets_dir=sources.secrets_dir, env_prefix=prefix, env_ignore_empty=True
            ),
            InitSettingsSource(settings_cls, init_kwargs=scope.table),
        )


class PluginSettings(_Sourced):
    """Base of the settings of every plugin: subclass it and add fields.

    The core fills it, from first to last: ``PAIGEANT_<NAME>_<FIELD>`` in the environment, then in
    ``.env``, then a file of that name in the secrets directory, then the TOML table ``[<name>]``.
    The instance ``redis:billing`` reads ``PAIGEANT_REDIS_BILLING_*`` and ``[redis.billing]`` instead.
    Created directly, outside the core, it takes its arguments only.

    :param namespace: set by the core, never by a variable; part of every key on the backend.
    :param url: the URL given in place of a name, else ``PAIGEANT_<NAME>_URL``.
    """

    namespace: Namespace = "default"
    url: str | None = Field(None, repr=False)


class CoreSettings(_Sourced):
    """Settings of the core, read from ``PAIGEANT_*`` and the TOML table ``[paigeant]``.

    Arguments win over the environment. Lists are comma-separated in variables.

    :param transport: plugin name, ``name:instance`` or URL.
    :param namespace: part of the audience, of every broker key and of the SQLite path.
    :param state_store: ``None`` is the transport's own, ``"none"`` is none, else as ``transport``.
    :param serializers: active codecs; the first one writes, all read.
    :param signers: active signers; every one of them signs.
    :param observers: active observers.
    :param security: profile; ``None`` is ``dev``: without a configured key, one by the transport's scope.
    :param strict_plugins: a broken plugin that nobody selected is an error, too.
    :param disable_plugin_autoload: load only plugins that are named.
    :param block_plugins: plugins or distributions that must not be loaded.
    :param max_message_bytes: largest envelope, in bytes; at most 1 MiB.
    :param max_records: most records of one workflow; at most 1024.
    :param workflow_ttl: seconds until a workflow without a deadline expires; at most 30 days.
    :param planner_model: model of ``create_planner_agent()``, in pydantic-ai's notation.
    :param lease: seconds a worker owns a delivery without renewing it; at least 1.
    :param concurrency: activities a worker runs at the same time.
    :param grace: seconds a stopping worker lets its activities finish.
    :raises ConfigurationError: a value is wrong; names the variable and never shows a secret.
    """

    transport: PluginReference = Field("inmemory", repr=False)
    namespace: Annotated[str, AfterValidator(_namespace)] = "default"
    state_store: PluginReference | None = Field(None, repr=False)
    serializers: Annotated[References, Field(min_length=1)] = ("json",)
    signers: Annotated[References, Field(min_length=1)] = ("hs256",)
    observers: References = ()
    security: Literal["dev", "shared-secret", "prod", "insecure"] | None = None
    strict_plugins: bool = False
    disable_plugin_autoload: bool = False
    block_plugins: CommaSeparated = ()
    max_message_bytes: int = Field(256 * 1024, ge=1024, le=1024 * 1024)
    max_records: int = Field(256, ge=1, le=1024)
    workflow_ttl: float = Field(86_400.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    planner_model: str | None = None
    lease: float = Field(30.0, ge=1, le=86_400, allow_inf_nan=False)
    concurrency: int = Field(100, ge=1, le=100_000)
    grace: float = Field(30.0, ge=0, le=86_400, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        with _reading(type(self), Scope.of(Sources.read())):
            super().__init__(**values)


def read_plugin_settings(settings: type[S], scope: Scope, values: dict[str, Any]) -> S:
    """Fill the settings class of a plugin; ``values`` win over every source.

    :raises ConfigurationError: a value is missing or wrong; names the variable.
    """
    with _reading(settings, scope):
        return settings(**values)


@contextmanager
def _reading(settings: type[BaseSettings], scope: Scope) -> Generator[None, None, None]:
    token = _scope.set(scope)
    try:
        with quiet_dotenv():
            yield
    except ValidationError as exc:
        lines = [_explain(error, settings, scope) for error in exc.errors(include_url=False)]
        raise ConfigurationError("; ".join(lines)) from exc
    except SettingsError as exc:
        raise ConfigurationError(f"{scope.prefix}*: {exc}; list and table values are JSON in variables") from exc
    finally:
        _scope.reset(token)


def _explain(error: ErrorDetails, settings: type[BaseSettings], scope: Scope) -> str:
    """One sentence without the value, which may be a secret: where, what, remedy."""
    field = str(error["loc"][0]) if error["loc"] else ""
    place = scope.where(field)
    if error["type"] == "missing":
        return f"{place} is not set, and has no default"
    info = settings.model_fields.get(field)
    authored = error["type"] in {"value_error", "assertion_error"}
    text = error["msg"].removeprefix("Value error, ")
    if authored and _is_secret(field, settings):
        text = "not a valid value"
    if info is None or info.is_required():
        return f"{place}: {text}"
    return f"{place}: {text}; correct it, or unset it for the default {info.get_default()!r}"


def _is_secret(field: str, settings: type[BaseSettings]) -> bool:
    info = settings.model_fields.get(field)
    kinds = repr(info.annotation) if info else ""
    return field == "url" or SecretStr.__name__ in kinds or SecretBytes.__name__ in kinds
