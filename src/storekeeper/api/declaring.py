"""Declaring image storages and volumes."""

from __future__ import annotations

from litestar import Controller


class Declaring(Controller):
    """Declaring image storages and volumes."""

    path = "/"
