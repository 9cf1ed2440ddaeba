"""What agents say and ask."""

from __future__ import annotations

from litestar import Controller


class Agents(Controller):
    """What agents say and ask."""

    path = "/"
