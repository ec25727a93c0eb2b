"""Typed calls: from plain values to a function's parameters, and from its result to plain values.

pydantic does the conversion, in JSON mode, so that strict models accept what JSON can say (a UUID as
text) and nothing is guessed from Python types that did not travel. Fields travel by their names, and are
read by name or alias; computed ones do not travel, for whoever reads the rest has them, too.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from types import GenericAlias
from typing import Any, Literal, NotRequired, Required, cast, get_type_hints

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from pydantic_core import ValidationError as CoreValidationError
from typing_extensions import TypedDict

from ..errors import ConfigurationError, PermanentFault, SerializationError

_CONFIG = ConfigDict(
    arbitrary_types_allowed=False,
    extra="forbid",
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="constants",  # which the codecs refuse; by default they would silently become null
)

_STARS = b'"**********"'
_HIDDEN = (
    "holds a secret (SecretStr or the like) as asterisks: values lie readable in brokers and stores, so pass on where "
    "the secret is kept, not the secret"
)


def check_function(function: object, what: str) -> None:
    """Whether it is one that a worker can call and await.

    :raises ConfigurationError: it is none, a generator, a method of no object, or hides its parameters.
    """
    if not inspect.isroutine(function) or isinstance(function, functools.partial):
        raise ConfigurationError(
            f"{what} must be a function (def or async def), not {function!r}; "
            "call a functools.partial, a class or a callable object in a function of your own"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{what} must not be a generator, as {function.__qualname__!r} is: "
            "a result is one value; collect the items and return them"
        )
    try:
        unbound = _needs_self(function)
    except ValueError as exc:  # many that are written in C
        raise ConfigurationError(
            f"{what} must be a function that tells its parameters, and {function!r} does not; "
            "call it in a function of your own"
        ) from exc
    if unbound:
        raise ConfigurationError(
            f"{what} must be a function, but {function.__qualname__!r} is a method, and a worker has no object for "
            "`self`: define it outside of the class, or take that of an object"
        )


def _needs_self(function: Callable[..., Any]) -> bool:
    """Whether it was written in the body of a class, to be called on an object."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.name != "self" or first.annotation is not first.empty:
        return False
    return function.__qualname__.rpartition(".")[0].rpartition(".")[2] not in ("", "<locals>")


class Signature:
    """The data parameters of a function, without its context parameter.

    :param function: the activity function or a compensation handler.
    :ivar is_async: whether it runs on the event loop; plain functions run in threads.
    :param owner: the activity's name, for messages.
    :raises ConfigurationError: a parameter or the result has a type pydantic cannot handle, or the
        function takes ``*args``, ``**kwargs`` or positional-only parameters.
    """

    def __init__(self, function: Callable[..., Any], owner: str, context: type) -> None:
        self.owner = owner
        self.is_async = inspect.iscoroutinefunction(function)
        self._hints = _hints(function, owner)
        self._returns = self._hints.get("return", Any)
        parameters = list(inspect.signature(function).parameters.values())
        self.context = next((p.name for p in parameters if self._is_context(p, context)), None)
        self.parameters = {p.name: p for p in parameters if p.name != self.context}
        for parameter in self.parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise ConfigurationError(
                    f"activity {owner!r}: parameter {parameter.name!r} must be a named one; "
                    "arguments travel by name, so *args, **kwargs and positional-only parameters cannot be used"
                )

    def _is_context(self, parameter: inspect.Parameter, context: type) -> bool:
        hint = self._hints.get(parameter.name)
        origin = getattr(hint, "__origin__", hint)
        if isinstance(origin, type) and issubclass(origin, context):
            return True
        return hint is None and parameter.name == "ctx"

    @cached_property
    def _arguments(self) -> TypeAdapter[dict[str, Any]]:
        """Python itself adds the defaults: of what is left out, in the call."""
        fields = {name: self._field(name, parameter) for name, parameter in self.parameters.items()}
        made = cast("Callable[..., Any]", TypedDict)(f"Arguments of {self.owner}", fields)
        made.__pydantic_config__ = _CONFIG
        return self._adapter(made, "has a parameter of a type")

    def _field(self, name: str, parameter: inspect.Parameter) -> Any:
        hint = self._hints.get(name, Any)
        return Required[hint] if parameter.default is parameter.empty else NotRequired[hint]

    @cached_property
    def _result(self) -> TypeAdapter[list[Any]]:
        """In a list, for what pydantic takes as a whole, as a dataclass, takes no configuration of ours."""
        return self._adapter(GenericAlias(list, self._returns), "returns a type", config=_CONFIG)

    def _adapter(self, hint: Any, what: str, config: ConfigDict | None = None) -> TypeAdapter[Any]:
        try:
            adapter = TypeAdapter[Any](hint, config=config)
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as exc:
            raise ConfigurationError(f"activity {self.owner!r} {what} that cannot travel: {exc}") from exc
        return adapter

    @cached_property
    def _hides(self) -> bool:
        return _may_hide(self._result)

    def prepare(self) -> None:
        """Build all converters now, so that a wrong type is an error at start.

        :raises ConfigurationError: a type cannot travel.
        """
        _ = self._arguments, self._hides

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Typed keyword arguments from plain ones.

        :raises PermanentFault: one is missing, unknown or of the wrong type; names it.
        """
        try:
            data = to_json(values, bytes_mode="base64")
            if _STARS in data and _may_hide(self._arguments):
                raise PermanentFault(f"activity {self.owner!r}: an argument {_HIDDEN}")
            bound: dict[str, Any] = self._arguments.validator.validate_json(data, by_alias=True, by_name=True)
        except CoreValidationError as exc:
            raise PermanentFault(f"activity {self.owner!r}: {_explain(exc)}") from None
        except (PydanticSerializationError, UnicodeError) as exc:
            raise PermanentFault(f"activity {self.owner!r}: an argument cannot be converted: {exc}") from exc
        return bound

    def plain_result(self, value: Any) -> Any:
        """Validate what the function returned and make it plain.

        :raises PermanentFault: it is not of the declared type, or no codec can carry it.
        """
        try:
            return self._dump(self._result.validator.validate_python([value]))
        except CoreValidationError as exc:
            raise PermanentFault(
                f"activity {self.owner!r} returned another type than it declares: {_explain(exc, 1)}"
            ) from None
        except (PydanticSerializationError, UnicodeError) as exc:
            raise PermanentFault(
                f"activity {self.owner!r}: the result cannot be carried: {exc}{_remedy(exc)}"
            ) from None

    def _dump(self, checked: list[Any]) -> Any:
        """Make it plain. If a part is not what it declares, as a field that was set later, it must be readable as that.

        pydantic would only warn of such a part, and quote it, in an error as well: the check tells without it.
        """
        if checked[0] is None:
            return None
        try:
            made = self._write(checked, "error")
        except PydanticSerializationError:
            made = self._write(checked, "none")
            self._read(made)
        if self._hides and _STARS in to_json(made):
            raise PermanentFault(f"activity {self.owner!r}: the result {_HIDDEN}")
        return made[0]

    def typed_result(self, plain: Any) -> Any:
        """The inverse of ``plain_result``, for a reader of the result.

        :raises PermanentFault: it is not of the declared type.
        """
        try:
            return self._read([plain])[0]
        except CoreValidationError as exc:
            raise PermanentFault(f"result of activity {self.owner!r}: {_explain(exc, 1)}") from None

    def _write(self, checked: list[Any], warnings: Literal["none", "error"]) -> list[Any]:
        made: list[Any] = self._result.serializer.to_python(
            checked, mode="json", by_alias=False, round_trip=True, warnings=warnings
        )
        return made

    def _read(self, made: list[Any]) -> list[Any]:
        return self._result.validate_json(to_json(made, bytes_mode="base64"), by_alias=True, by_name=True)


def plain(value: Any, what: str) -> Any:
    """JSON-like values from anything pydantic knows: models, dataclasses, datetimes, UUIDs, bytes.

    :raises SerializationError: naming ``what`` it is.
    """
    try:
        return to_jsonable_python(value, by_alias=False, round_trip=True, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        remedy = _remedy(exc) or "; use JSON-like values, dataclasses or pydantic models"
        raise SerializationError(f"{what} of type {type(value).__name__!r} cannot be carried: {exc}{remedy}") from exc


def _remedy(exc: Exception) -> str:
    """pydantic writes the bytes in a model as text, unless the model says otherwise."""
    if not isinstance(exc, UnicodeError) and "utf-8" not in str(exc):
        return ""
    return "; for bytes in a model set ser_json_bytes='base64' and val_json_bytes='base64' in its model_config"


def _may_hide(adapter: TypeAdapter[Any]) -> bool:
    """Whether the type holds a ``SecretStr`` or the like, which is written as asterisks unless it says otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults that JSON schema cannot say
            return _holds_secret(adapter.json_schema(mode="serialization"))
    except Exception:
        return False  # a type without a JSON schema, or with a broken one of its own


def _holds_secret(schema: object) -> bool:
    match schema:
        case {"writeOnly": True, "format": "password"}:
            return True
        case dict():
            return any(map(_holds_secret, cast("dict[str, object]", schema).values()))
        case list():
            return any(map(_holds_secret, cast("list[object]", schema)))
        case _:
            return False


def _hints(function: Callable[..., Any], owner: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as exc:
        raise ConfigurationError(
            f"activity {owner!r}: its annotations cannot be resolved ({exc}); "
            "types used by activities must be importable at run time, not only under TYPE_CHECKING"
        ) from exc


def _explain(error: CoreValidationError, skip: int = 0) -> str:
    """:param skip: parts of the path that are ours."""
    # Never the input: it may be a secret.
    parts: list[str] = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        where = ".".join(str(part) for part in item["loc"][skip:])
        parts.append(f"{where!r}: {item['msg']}" if where else item["msg"])
    return "; ".join(parts)
