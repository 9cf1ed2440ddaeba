"""Times for people: how long ago."""

from __future__ import annotations

from datetime import datetime

_STEPS = ((60, "s"), (60, "min"), (48, "h"), (60, "d"))


def ago(text: str, now: float) -> str:
    """An RFC 3339 time as an age; `now` in epoch seconds. What is no time stays as it is.

    >>> at = datetime.fromisoformat("2026-01-01T00:03:00Z").timestamp()
    >>> ago("2026-01-01T00:00:00Z", at), ago("2025-06-01T00:00:00Z", at), ago("", at)
    ('3 min ago', '2025-06-01', 'unknown')
    """
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text or "unknown"
    count = max(int(now - then.timestamp()), 0)
    for limit, unit in _STEPS:
        if count < limit:
            return f"{count} {unit} ago"
        count //= 24 if unit == "h" else 60
    return then.date().isoformat()
