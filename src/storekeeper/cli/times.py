"""Times for people: how long ago."""

from __future__ import annotations

from datetime import datetime

_STEPS = ((60, "s"), (60, "min"), (48, "h"), (60, "d"))


def ago(text: str, now: float) -> str:
    """An RFC 3339 time as an age; `now` in epoch seconds. What is no time stays as it is.

    >>> ago("2026-01-01T00:00:00Z", datetime(2026, 1, 1, 0, 3, tzinfo=UTC).timestamp())
    '3 min ago'
    >>> ago("2026-01-01T00:00:00Z", datetime(2026, 6, 1, tzinfo=UTC).timestamp()), ago("", 0.0)
    ('2026-01-01', 'unknown')
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
