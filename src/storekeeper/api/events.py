"""What changes in a document, as it changes."""

from __future__ import annotations

from litestar import Controller


class Events(Controller):
    """What changes in a document, as it changes."""

    path = "/"
