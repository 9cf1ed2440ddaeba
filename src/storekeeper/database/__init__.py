"""What the manager must remember over a restart, in SQLite or PostgreSQL."""

from storekeeper.database.opening import open_store
from storekeeper.database.store import Store

__all__ = ["Store", "open_store"]
