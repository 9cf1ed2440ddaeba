"""The tokens of people."""

from __future__ import annotations

from litestar import Controller


class Tokens(Controller):
    """The tokens of people."""

    path = "/"
