"""How often to look. Pure."""

from __future__ import annotations

from storekeeper.sources.contract import Source

# A walk may cost this share of one core at most, within these bounds.
WALK_SHARE = 20
LONGEST_PAUSE_S = 30.0
# What running guests write changes sizes without any event.
USED_EVERY_S = 10.0
# A change of free space too small for a document of its own is told at the latest after this.
EXACT_EVERY_S = 60.0


def pause_s(source: Source, took_s: float) -> float:
    """The pause until the next whole look: the source's own, longer after a look that took long."""
    if source.of == "host":
        return source.every_s
    return max(source.every_s, min(LONGEST_PAUSE_S, WALK_SHARE * took_s))
