"""What all hosts saw, what is declared and the time become the truth: pure, as everything in here."""

from storekeeper.merge.storages import merge

__all__ = ["merge"]
