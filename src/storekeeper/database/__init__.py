"""What the manager must remember over a restart, in SQLite."""

from storekeeper.database.store import Store, open_store

__all__ = ["Store", "open_store"]
