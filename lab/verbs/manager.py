"""Verbs that happen to the manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.verbs.contract import AnyVerb

if TYPE_CHECKING:
    from lab.lab import Lab


class KillManager(AnyVerb, tag="kill-manager"):
    """The manager is killed."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGKILL."""
        lab.manager.kill()


class StartManager(AnyVerb, tag="start-manager"):
    """The manager starts again, on its database."""

    def do(self, lab: Lab) -> None:
        """Starts it and waits until it answers."""
        lab.manager.start()
