"""Guests: which there are, and what they own."""

from __future__ import annotations

from litestar import Controller


class Guests(Controller):
    """Guests: which there are, and what they own."""

    path = "/"
