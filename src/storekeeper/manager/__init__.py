"""The manager: the last truth in memory; applies reports, merges, publishes."""
