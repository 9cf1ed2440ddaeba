"""Every error of Storekeeper: its sentence, its facts, its HTTP status and its exit code.

Nothing else maps errors to codes. A message names the thing and what to do about it, and leaks no
path of another volume, no query and no stack.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import ClassVar

EXIT_FINE = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_NOT_KNOWN = 3
EXIT_NO_SUCH_OBJECT = 4
EXIT_REFUSED = 5

# How much of an unknown name is repeated, and what it is compared with to suggest another.
TOLD_CHARACTERS = 80
COMPARED_NAMES = 50
ALIKE_CHARACTERS = 3


class StorekeeperError(Exception):
    """Root of all errors that an admin may see. `str()` is the whole sentence."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = EXIT_FINDINGS


class DeclarationError(StorekeeperError):
    """The declaration is wrong: `key` is the dotted key at fault, `text` says what to write instead."""

    code = "bad-declaration"
    http_status = 422
    exit_code = EXIT_USAGE

    def __init__(self, key: str, text: str, *, file: str = "") -> None:
        self.key = key
        self.text = text
        self.file = file
        where = f"{file}: " if file else ""
        super().__init__(f"{where}{key}: {text}" if key else f"{where}{text}")


class UsageError(StorekeeperError):
    """A request or a command line that cannot be meant: what to write instead is in the sentence."""

    code = "bad-request"
    http_status = 400
    exit_code = EXIT_USAGE


class NoSuchObject(StorekeeperError):
    """Something was asked for by an id that does not exist; suggests the nearest that does.

    Of many `known` only some that begin alike are compared: comparing with 20,000 takes seconds.
    """

    code = "not-found"
    http_status = 404
    exit_code = EXIT_NO_SUCH_OBJECT

    def __init__(self, kind: str, wanted: str, known: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.wanted = wanted
        if len(wanted) > TOLD_CHARACTERS:
            wanted = wanted[:TOLD_CHARACTERS] + "…"
        alike = known
        if len(known) > COMPARED_NAMES:
            begins = wanted[:ALIKE_CHARACTERS]
            alike = tuple(islice((name for name in known if name.startswith(begins)), COMPARED_NAMES))
        near = get_close_matches(wanted, alike, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        if not near and 0 < len(known) <= 10:
            hint = f" There is: {', '.join(sorted(known))}."
        super().__init__(f"No {kind} {wanted!r}.{hint}")


class NotThere(StorekeeperError):
    """A manager answered that it knows no such object; the sentence is the manager's."""

    code = "not-found"
    http_status = 404
    exit_code = EXIT_NO_SUCH_OBJECT


class NoSuchRoute(StorekeeperError):
    """A request for a path that the API does not have. The path is not repeated: it may hold secrets."""

    code = "not-found"
    http_status = 404
    exit_code = EXIT_NO_SUCH_OBJECT


class NotAllowed(StorekeeperError):
    """A method that the path does not have."""

    code = "method-not-allowed"
    http_status = 405
    exit_code = EXIT_REFUSED


class NotAcceptable(StorekeeperError):
    """The client accepts no encoding that there is."""

    code = "not-acceptable"
    http_status = 406
    exit_code = EXIT_USAGE


class TooLarge(StorekeeperError):
    """The head of a request is longer than any honest one."""

    code = "too-large"
    http_status = 431
    exit_code = EXIT_USAGE


class BodyTooLarge(StorekeeperError):
    """The body of a request is longer than its route takes."""

    code = "body-too-large"
    http_status = 413
    exit_code = EXIT_USAGE


class NotKnown(StorekeeperError):
    """The answer is not known now: the manager starts, does not answer, or its truth is too old."""

    code = "not-known"
    http_status = 503
    exit_code = EXIT_NOT_KNOWN


class StoreError(StorekeeperError):
    """The database does not answer or cannot be written: nothing of what was to be done in it is done."""

    code = "not-known"
    http_status = 503
    exit_code = EXIT_NOT_KNOWN


class Outdated(StorekeeperError):
    """The database has the tables of another version of Storekeeper now: this one is to stop."""

    code = "not-known"
    http_status = 503
    exit_code = EXIT_NOT_KNOWN


class Refused(StorekeeperError):
    """Storekeeper will not do this, and says why."""

    code = "refused"
    http_status = 403
    exit_code = EXIT_REFUSED


class NotAuthenticated(StorekeeperError):
    """The request carries no credential, or one that holds no more."""

    code = "not-authenticated"
    http_status = 401
    exit_code = EXIT_REFUSED


class Conflict(StorekeeperError):
    """What is asked for contradicts what there is: an id that is taken, a host that is still linked."""

    code = "conflict"
    http_status = 409
    exit_code = EXIT_REFUSED


class FullReportNeeded(StorekeeperError):
    """The manager has not what this report follows on; the agent is to tell everything."""

    code = "full-report-needed"
    http_status = 409


class Superseded(StorekeeperError):
    """A later run of this host's agent reports already; this one is to stop."""

    code = "superseded"
    http_status = 409
    exit_code = EXIT_REFUSED


class Incompatible(StorekeeperError):
    """The agent's version and the manager's could misunderstand each other."""

    code = "incompatible"
    http_status = 426
    exit_code = EXIT_REFUSED


class HostError(StorekeeperError):
    """A question that a host could not answer. Sources turn it into a `Fault` of the same `code`.

    `subject` is the path, device or command that was asked for.
    """

    code = "io-error"
    exit_code = EXIT_NOT_KNOWN

    def __init__(self, subject: str, text: str) -> None:
        self.subject = subject
        self.text = text
        super().__init__(f"{subject}: {text}")


class Absent(HostError):
    """The path, device or program is not there. This was seen; it is not a failure to look."""

    code = "absent"


class Denied(HostError):
    """The rights of this process do not suffice."""

    code = "denied"


class Unreadable(HostError):
    """The kernel answered with an error (EIO, ESTALE, ENOTCONN ...)."""

    code = "io-error"


class TimedOut(HostError):
    """No answer within the deadline."""

    code = "timed-out"


class ToolMissing(HostError):
    """A program or library that this question needs is not installed; `text` says what installs it."""

    code = "tool-missing"


class ToolFailed(HostError):
    """A program ran and failed, or printed what cannot be understood."""

    code = "tool-failed"


class Busy(HostError):
    """Someone else holds the lock that the answer needs; the next look asks again."""

    code = "busy"


class NotCaptured(HostError):
    """A captured machine was asked a question that was not asked when it was captured."""

    code = "not-captured"


class BadHeader(StorekeeperError):
    """An image header that lies or is cut. `text` is a sentence for a person, `code` a stable word."""

    code = "bad-header"

    def __init__(self, text: str, *, code: str = "bad-header") -> None:
        self.fault_code = code
        super().__init__(text)


def said(end: BaseException) -> BaseException:
    """What of an end is to be said to a person, who wants no groups of it; else all."""
    if not isinstance(end, BaseExceptionGroup):
        return end
    told: BaseException | None = end.subgroup(StorekeeperError)
    while isinstance(told, BaseExceptionGroup):
        told = told.exceptions[0]
    return told or end
