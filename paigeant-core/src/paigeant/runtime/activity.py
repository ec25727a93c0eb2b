"""Activities: named functions with an execute and, optionally, a compensate part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from ..durations import seconds
from ..errors import ConfigurationError
from ..model.names import check_name
from ..routing.itinerary import ActivitySpec
from ..routing.retry import RetryPolicy
from .binding import Signature, check_function
from .context import ActivityContext

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
H = TypeVar("H", bound=Callable[..., Any])


class Activity(Generic[P, R]):
    """A function that workers can run by name. It stays callable as the function it was.

    Made by :func:`activity`; nothing registers globally: a worker serves what it is given.
    """

    def __init__(
        self,
        function: Callable[P, R],
        name: str,
        *,
        queue: str | None,
        retry: RetryPolicy,
        timeout: timedelta | float | None,
    ) -> None:
        self.name = check_name(name)
        self.queue = check_name(queue or name, "queue")
        self.function = function
        self.retry = retry
        self.timeout = _limit(timeout, name)
        self.what = f"the result of activity {self.name!r}"
        self.handler: Callable[..., Any] | None = None
        self.signature = Signature(function, self.name, ActivityContext)
        self.handler_signature: Signature | None = None
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Activity {self.name!r}>"

    def compensate(self, handler: H) -> H:
        """Decorator: ``handler`` undoes the effect; idempotent, for it may run more than once.

        Its parameters are validated from the data given to ``ctx.register_compensation``.

        :raises ConfigurationError: there is a handler already, or this is no function.
        """
        check_function(handler, f"the compensation handler of activity {self.name!r}")
        if self.handler is not None:
            raise ConfigurationError(f"activity {self.name!r} already has a compensation handler")
        self.handler, self.handler_signature = handler, Signature(handler, self.name, ActivityContext)
        return handler

    def spec(self, **arguments: Any) -> ActivitySpec:
        """An itinerary item for this activity, on its own queue.

        :raises ConfigurationError: an argument that the function does not take.
        """
        unknown = sorted(set(arguments) - set(self.signature.parameters))
        if unknown:
            raise ConfigurationError(f"activity {self.name!r} takes no argument {', '.join(map(repr, unknown))}")
        return ActivitySpec(name=self.name, arguments=arguments, queue=self.queue)

    def prepare(self) -> None:
        """Build the converters, so that a type that cannot travel is an error at start."""
        self.signature.prepare()
        if self.handler_signature is not None:
            self.handler_signature.prepare()


class Ran(Protocol[R_co]):
    """An activity, to those who ask for its result: its parameters do not matter to them.

    Overloads that take an ``Activity[..., R]`` would not do: several of them fit, so pyright says ``Any``.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, *args: Any, **kwargs: Any) -> R_co: ...


@overload
def activity(name: Callable[P, R]) -> Activity[P, R]: ...
@overload
def activity(
    name: str | None = None,
    *,
    queue: str | None = None,
    retry: RetryPolicy = ...,
    timeout: timedelta | float | None = None,
) -> Callable[[Callable[P, R]], Activity[P, R]]: ...
def activity(
    name: str | Callable[P, R] | None = None,
    *,
    queue: str | None = None,
    retry: RetryPolicy | None = None,
    timeout: timedelta | float | None = None,
) -> Activity[P, R] | Callable[[Callable[P, R]], Activity[P, R]]:
    """Decorator: make a function an activity.

    :param name: default is the function's name with ``-`` for ``_``.
    :param queue: where its messages wait; default is the name.
    :param retry: policy for transient faults; default 3 attempts, 1 s doubling to 60 s, full jitter.
    :param timeout: of one attempt, a timedelta or seconds; default none.
    :raises InvalidWorkflow: the name or queue is malformed.
    :raises ConfigurationError: it is no function, a parameter of it cannot be used, or an option is wrong.
    """

    def decorate(function: Callable[P, R]) -> Activity[P, R]:
        check_function(function, "an activity")
        chosen = (
            name if isinstance(name, str) else getattr(function, "__name__", "").strip("_").replace("_", "-").lower()
        )
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise ConfigurationError(f"activity {chosen!r}: retry={retry!r} must be a RetryPolicy(attempts=...)")
        return Activity(function, chosen, queue=queue, retry=retry or RetryPolicy(), timeout=timeout)

    return decorate if name is None or isinstance(name, str) else decorate(name)


def _limit(timeout: timedelta | float | None, name: str) -> float | None:
    limit = None if timeout is None else seconds(timeout)
    if timeout is not None and not (limit and limit > 0):
        raise ConfigurationError(f"activity {name!r}: timeout={timeout!r} must be a timedelta or seconds, more than 0")
    return limit
