"""The HTTP API: thin. `door` lets requests in, `routes` answers them, `server` listens."""

from storekeeper.api.app import create_app

__all__ = ["create_app"]
