"""Hosts: which there are, how they are, how they join."""

from __future__ import annotations

from litestar import Controller


class Hosts(Controller):
    """Hosts: which there are, how they are, how they join."""

    path = "/"
