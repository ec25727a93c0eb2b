"""Typed calls: from plain values to a function's parameters, and from its result to plain values.

pydantic does the conversion, in JSON mode, so that strict models accept what JSON can say (a UUID as
text) and nothing is guessed from Python types that did not travel.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, create_model
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from pydantic_core import ValidationError as CoreValidationError

from ..errors import ConfigurationError, PermanentFault, SerializationError

_CONFIG = ConfigDict(
    arbitrary_types_allowed=False,
    extra="forbid",
    ser_json_bytes="base64",
    val_json_bytes="base64",
    protected_namespaces=(),
)


def check_function(function: object, what: str) -> None:
    """Whether it is one that a worker can call and await.

    :raises ConfigurationError: it is none, or an asynchronous generator.
    """
    if not inspect.isroutine(function) or isinstance(function, functools.partial):
        raise ConfigurationError(
            f"{what} must be a function (def or async def), not {function!r}; "
            "call a functools.partial, a class or a callable object in a function of your own"
        )
    if inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"{what} must not be an asynchronous generator, as {function.__qualname__!r} is: "
            "a result is one value; collect the items and return them"
        )


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
        # Aliased fields, so that a parameter may be called like an attribute of BaseModel ("json").
        self._fields = [(f"p{index}", name) for index, name in enumerate(self.parameters)]
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
    def _model(self) -> type[BaseModel]:
        specs = {}
        for field, name in self._fields:
            default = self.parameters[name].default
            default = ... if default is inspect.Parameter.empty else default
            specs[field] = (self._hints.get(name, Any), _field(name, default))
        try:
            return create_model(f"Arguments of {self.owner}", __config__=_CONFIG, **specs)  # type: ignore[call-overload,no-any-return]
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as exc:
            raise ConfigurationError(
                f"activity {self.owner!r} has a parameter of a type that cannot travel: {exc}"
            ) from exc

    @cached_property
    def _result(self) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(self._returns, config=None if _has_config(self._returns) else _CONFIG)
        except (PydanticSchemaGenerationError, PydanticUserError) as exc:
            raise ConfigurationError(f"activity {self.owner!r} returns a type that cannot travel: {exc}") from exc

    def prepare(self) -> None:
        """Build all converters now, so that a wrong type is an error at start."""
        _ = self._model, self._result

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Typed keyword arguments from plain ones.

        :raises PermanentFault: one is missing, unknown or of the wrong type; names it.
        """
        try:
            bound = self._model.model_validate_json(to_json(values, bytes_mode="base64"))
        except CoreValidationError as exc:
            raise PermanentFault(f"activity {self.owner!r}: {_explain(exc)}") from None
        except PydanticSerializationError as exc:
            raise PermanentFault(f"activity {self.owner!r}: an argument cannot be converted: {exc}") from exc
        fields = bound.__dict__
        return {name: fields[field] for field, name in self._fields}

    def plain_result(self, value: Any) -> Any:
        """Validate what the function returned and make it plain.

        :raises PermanentFault: it is not of the declared type, or no codec can carry it.
        """
        try:
            checked = self._result.validate_python(value)
            return checked if checked is None else self._dump(checked)
        except CoreValidationError as exc:
            raise PermanentFault(
                f"activity {self.owner!r} returned another type than it declares: {_explain(exc)}"
            ) from None
        except PydanticSerializationError as exc:
            raise PermanentFault(f"activity {self.owner!r}: the result cannot be carried: {exc}") from None

    def _dump(self, value: Any) -> Any:
        """Make it plain. If a part is not what it declares, as a field that was set later, it must be readable as that.

        pydantic would only warn of such a part, and quote it, in an error as well: the check tells without it.
        """
        try:
            return self._result.dump_python(value, mode="json", warnings="error")
        except PydanticSerializationError:
            made = self._result.dump_python(value, mode="json", warnings="none")
            self._result.validate_json(to_json(made, bytes_mode="base64"))
            return made

    def typed_result(self, plain: Any) -> Any:
        """The inverse of ``plain_result``, for a reader of the result."""
        try:
            return self._result.validate_json(to_json(plain, bytes_mode="base64"))
        except CoreValidationError as exc:
            raise PermanentFault(f"result of activity {self.owner!r}: {_explain(exc)}") from None


def plain(value: Any, what: str) -> Any:
    """JSON-like values from anything pydantic knows: models, dataclasses, datetimes, UUIDs, bytes.

    :raises SerializationError: naming ``what`` it is.
    """
    try:
        return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        raise SerializationError(
            f"{what} of type {type(value).__name__!r} cannot be carried: {exc}; "
            "use JSON-like values, dataclasses or pydantic models"
        ) from exc


def _field(name: str, default: Any) -> Any:
    from pydantic import Field

    return Field(default=default, alias=name)


def _hints(function: Callable[..., Any], owner: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as exc:
        raise ConfigurationError(
            f"activity {owner!r}: its annotations cannot be resolved ({exc}); "
            "types used by activities must be importable at run time, not only under TYPE_CHECKING"
        ) from exc


def _has_config(hint: Any) -> bool:
    """pydantic refuses a config for types that have their own."""
    own_config = isinstance(hint, type) and issubclass(cast("type[object]", hint), BaseModel)
    return own_config or hasattr(hint, "__dataclass_fields__") or hasattr(hint, "__total__")


def _explain(error: CoreValidationError) -> str:
    # Never the input: it may be a secret.
    parts: list[str] = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        where = ".".join(str(part) for part in item["loc"])
        parts.append(f"{where!r}: {item['msg']}" if where else item["msg"])
    return "; ".join(parts)
