"""The grammar of names, checked wherever a name enters the system."""

from __future__ import annotations

import re

from ..errors import ConfigurationError, InvalidWorkflow

NAMESPACE = r"[a-z0-9][a-z0-9_-]{0,63}"
NAME = r"[a-z0-9][a-z0-9._-]{0,99}"
CORRELATION_ID = r"[A-Za-z0-9._-]{1,128}"
KID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
DEAD = ".dead"

_namespace, _name, _id = re.compile(NAMESPACE), re.compile(NAME), re.compile(CORRELATION_ID)


def check_namespace(value: str) -> str:
    """Return ``value`` if it is a namespace: ``[a-z0-9][a-z0-9_-]{0,63}``.

    :raises ConfigurationError: otherwise.
    """
    if not _namespace.fullmatch(value):
        raise ConfigurationError(f"namespace {value!r} must match {NAMESPACE}; set PAIGEANT_NAMESPACE accordingly")
    return value


def check_name(value: str, what: str = "activity") -> str:
    """Return ``value`` if it may name an activity or a queue.

    ``[a-z0-9][a-z0-9._-]{0,99}``, without empty or trailing dot segments; the suffix ``.dead``
    is reserved for dead-letter queues.

    :raises InvalidWorkflow: otherwise.
    """
    if not isinstance(value, str) or not _name.fullmatch(value):
        raise InvalidWorkflow(f"{what} name {value!r} must match {NAME}")
    if ".." in value or value.endswith("."):
        raise InvalidWorkflow(f"{what} name {value!r} has an empty dot segment")
    if value.endswith(DEAD):
        raise InvalidWorkflow(f"{what} name {value!r} ends in {DEAD!r}, reserved for dead letters")
    return value


def check_correlation_id(value: str) -> str:
    """Return ``value`` if it is a correlation id: ``[A-Za-z0-9._-]{1,128}``.

    :raises InvalidWorkflow: otherwise.
    """
    if not isinstance(value, str) or not _id.fullmatch(value):
        raise InvalidWorkflow(f"correlation id {value!r} must match {CORRELATION_ID}")
    return value


def dead_letter_queue(queue: str) -> str:
    """The queue that keeps the refused messages of ``queue``."""
    return queue + DEAD
