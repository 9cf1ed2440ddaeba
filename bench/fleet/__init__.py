"""`make bench-fleet`: a thousand simulated agents, and managers that they report to as real ones do."""
