"""How often to look, beside the sources' own pauses."""

from __future__ import annotations

# What running guests write changes sizes without any event.
USED_EVERY_S = 10.0
# A change of free space too small for a document of its own is told at the latest after this.
EXACT_EVERY_S = 60.0
