"""What the kernel says when it cannot answer, as an error of ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from storekeeper import errors
from storekeeper.naming import escape

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM}
_DENIED = {errno.EACCES, errno.EPERM}


def failure(subject: str | bytes, error: OSError) -> errors.HostError:
    """The `HostError` for an `OSError` about `subject`, a path."""
    number = error.errno or 0
    name = escape(subject)
    if number in _ABSENT:
        return errors.Absent(name, os.strerror(number))
    if number in _DENIED:
        return errors.Denied(name, f"{os.strerror(number)}; Storekeeper needs the right to read it")
    if number == errno.ELOOP:
        return errors.Unreadable(name, "a symbolic link, which is not followed here, or a loop of them")
    return errors.Unreadable(name, error.strerror or str(error))


@contextmanager
def failing_for(subject: str | bytes) -> Iterator[None]:
    """Turns an `OSError` of the block into the `HostError` for `subject`."""
    try:
        yield
    except OSError as error:
        raise failure(subject, error) from error
    except ValueError as error:  # a NUL in a path
        raise errors.Absent(escape(subject), "no path can hold a NUL byte") from error
