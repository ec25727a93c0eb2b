"""Every error Paigeant raises, in one tree.

::

    PaigeantError
    ├── ConfigurationError            a setting, argument or file is wrong; start-up or call time
    │   ├── MissingExtra              an optional dependency is not installed
    │   └── PluginError
    │       ├── PluginNotFound
    │       ├── PluginConflictError   two distributions own one name
    │       └── PluginLoadError       a selected plugin is broken (cause attached)
    ├── BackendError                  a transport or state store
    │   ├── BackendUnavailable        not reached, or refused for now; nothing happened
    │   ├── OutcomeUnknown            it may have happened: read again before deciding
    │   ├── BackendClosed             used before connect or after disconnect
    │   ├── BackendCorrupt            the data is not ours, damaged, or of another version
    │   ├── LeaseLost                 this consumer no longer owns the delivery
    │   ├── RevisionConflict          a compare-and-set found another revision
    │   └── MessageTooLarge           over the backend's or the namespace's limit
    ├── SerializationError            a value no configured codec can carry
    ├── SignerUnavailable             a signer failed or timed out; nothing was published
    ├── SecurityError                 bytes that must not be trusted
    │   ├── EnvelopeFormatError, LimitExceeded, UnsupportedVersion, UnsupportedContentType,
    │   │   HeaderError, AlgorithmNotAllowed, UnknownKey, BadSignature, MissingSignature,
    │   │   PolicyNotSatisfied, UntrustedSigner, ChainError, ItineraryError,
    │   │   RevisionNotAuthorized, AudienceMismatch, Expired, NotYetValid, ForkDetected,
    │   └── PayloadMismatch, PayloadMissing
    ├── WorkflowError
    │   ├── InvalidWorkflow           refused while it is built
    │   ├── DuplicateWorkflow         the id is taken by other content
    │   ├── WorkflowNotFound
    │   ├── WorkflowFailed            it ended, but not as completed (outcome attached)
    │   ├── ResultTimeout             no outcome yet; the workflow goes on
    │   ├── ResultExpired             it ended, and its results were cleaned up
    │   └── StoreRequired             the feature needs a state store
    └── ActivityError                 raised by activities to choose the kind of fault
        ├── TransientFault, PermanentFault
        └── RetryAfter                rate-limited: comes back later, costs no attempt

Errors that travel between processes stay picklable: they take only what they show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .durations import seconds

if TYPE_CHECKING:
    from datetime import timedelta


class PaigeantError(Exception):
    """Root of every error raised by Paigeant."""


class PaigeantWarning(UserWarning):
    """Something was ignored or is not as it should be, and work goes on."""


class ConfigurationError(PaigeantError):
    """A setting, argument or file is wrong. The message says which, where, and the remedy."""


class MissingExtra(ConfigurationError):
    """An optional dependency is not installed. The message holds the quoted ``pip`` line."""


class PluginError(ConfigurationError):
    """A plugin cannot be used."""


class PluginNotFound(PluginError):
    """No installed distribution provides a plugin of this name."""


class PluginConflictError(PluginError):
    """Two distributions provide a plugin of one name."""


class PluginLoadError(PluginError):
    """A selected plugin is broken; its own error is the ``__cause__``."""


class BackendError(PaigeantError):
    """A transport or a state store failed. Never a fault of an activity."""


class BackendUnavailable(BackendError):
    """The backend was not reached or refused for now; nothing was changed."""


class OutcomeUnknown(BackendError):
    """The backend may or may not have done it: read again, or repeat with the same ids."""


class BackendClosed(BackendError):
    """Used before ``connect`` or after ``disconnect``."""


class BackendCorrupt(BackendError):
    """The data is damaged, belongs to another program, or was written by another version."""


class LeaseLost(BackendError):
    """This consumer no longer owns the delivery; nothing was changed."""


class RevisionConflict(BackendError):
    """A compare-and-set met another revision; nothing was changed."""

    def __init__(self, key: str, *, expected: object = None, found: int | None = None) -> None:
        super().__init__(key)
        self.key, self.expected, self.found = key, expected, found

    def __str__(self) -> str:
        found = "no entry" if self.found is None else f"revision {self.found}"
        return f"key {self.key!r}: expected {self.expected}, found {found}"


class MessageTooLarge(BackendError):
    """The message is over the limit of the namespace or of the backend; it was not sent."""


class SerializationError(PaigeantError):
    """A value that no configured serializer can carry, or bytes that one cannot read."""


class SignerUnavailable(PaigeantError):
    """A signer raised, timed out or gave a signature that does not verify, or a verifier could not tell in time.

    Nothing was published.
    """


class SecurityError(PaigeantError):
    """Bytes that must not be trusted. Never retried, compensated or reported to their sender."""


class EnvelopeFormatError(SecurityError):
    """Not a well-formed envelope or record."""


class LimitExceeded(SecurityError):
    """Larger, deeper or longer than allowed."""


class UnsupportedVersion(SecurityError):
    """Made by another version of the record format."""


class UnsupportedContentType(SecurityError):
    """The ``content-type`` header is not that of an envelope."""


class HeaderError(SecurityError):
    """A protected header with missing, unknown or misplaced members."""


class AlgorithmNotAllowed(SecurityError):
    """The algorithm is not the one of the key."""


class UnknownKey(SecurityError):
    """Signed with a key this process does not know."""


class BadSignature(SecurityError):
    """A signature does not verify."""


class MissingSignature(SecurityError):
    """The signatures are not those that the record says it has."""


class PolicyNotSatisfied(SecurityError):
    """Valid signatures, but not the required ones."""


class UntrustedSigner(SecurityError):
    """The issuer is not among the principals that signed, or may not do this."""


class ChainError(SecurityError):
    """Records are missing, re-ordered, or belong to another workflow."""


class ItineraryError(SecurityError):
    """A record does not follow from the itinerary."""


class RevisionNotAuthorized(SecurityError):
    """The itinerary was revised beyond what the dispatcher allowed."""


class AudienceMismatch(SecurityError):
    """Made for another namespace or another queue."""


class Expired(SecurityError):
    """The workflow is past its expiry."""


class NotYetValid(SecurityError):
    """Issued in the future: a clock is wrong."""


class ForkDetected(SecurityError):
    """A verified record differs from the one committed at its position."""


class PayloadMismatch(SecurityError):
    """A value does not hash to the signed digest."""


class PayloadMissing(SecurityError):
    """A value is neither in the message nor in the store."""


class WorkflowError(PaigeantError):
    """A workflow cannot be dispatched, found or awaited."""


class InvalidWorkflow(WorkflowError):
    """The itinerary, an argument or a limit is wrong; refused before anything was published."""


class DuplicateWorkflow(WorkflowError):
    """The correlation id is already taken by a workflow of other content."""


class WorkflowNotFound(WorkflowError):
    """No workflow of this id, or it was cleaned up long ago."""


class WorkflowFailed(WorkflowError):
    """The workflow ended in another state than ``completed``. ``outcome`` holds all that is known."""

    def __init__(self, message: str, outcome: Any = None) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.outcome)


class ResultTimeout(WorkflowError):
    """No outcome within the time given. The workflow goes on; to an activity that awaits it, a transient fault."""


class ResultExpired(WorkflowError):
    """The workflow ended, and its results were cleaned up after their retention."""


class StoreRequired(WorkflowError):
    """The feature needs a state store, and none is configured."""


class ActivityError(PaigeantError):
    """Base of the errors an activity raises to choose what happens next."""


class TransientFault(ActivityError):
    """Worth another attempt. So is any other exception, except errors of Paigeant that would only come again."""


class PermanentFault(ActivityError):
    """No attempt can succeed: the workflow compensates or fails at once."""


class RetryAfter(ActivityError):
    """Rate-limited: run again after ``delay``; costs no attempt.

    :param delay: seconds, or a timedelta.
    :raises ConfigurationError: it is neither.
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        wait = seconds(delay)
        if wait is None:
            raise ConfigurationError(f"RetryAfter: delay={delay!r} must be seconds, or a timedelta")
        super().__init__(message or f"retry after {wait:g} s")
        self.delay = max(0.0, float(wait))
        self._message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.delay, self._message)
