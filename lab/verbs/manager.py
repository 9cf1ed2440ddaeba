"""Verbs that happen to the manager and its database, and the one that lets time pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.verbs.contract import AnyVerb

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class _OnManager(AnyVerb):
    """A verb that happens to one of the managers, counted from 1."""

    number: int = 1

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """There are not so many."""
        if not 1 <= self.number <= scenario.manager.count:
            yield f"there is no manager {self.number}; there are {scenario.manager.count}"


class KillManager(_OnManager, tag="kill-manager"):
    """A manager is killed."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGKILL."""
        lab.manager.kill(self.number - 1)


class StartManager(_OnManager, tag="start-manager"):
    """A manager starts again, on its database."""

    def do(self, lab: Lab) -> None:
        """Starts it and waits until it answers."""
        lab.manager.start(self.number - 1)


class Wait(AnyVerb, tag="wait"):
    """Nothing is done for some seconds: what is under way goes on."""

    seconds: float

    def do(self, lab: Lab) -> None:  # noqa: ARG002
        """Waits."""
        time.sleep(self.seconds)


class _OnDatabase(AnyVerb):
    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """The manager's database is a file."""
        if scenario.manager.database != "postgresql":
            yield "the manager has no database server; write manager.database = 'postgresql'"


class StopDatabase(_OnDatabase, tag="stop-database"):
    """The database server is stopped, at once."""

    def do(self, lab: Lab) -> None:
        """Ends it, and every connection to it."""
        lab.manager.database.stop()


class StartDatabase(_OnDatabase, tag="start-database"):
    """The database server starts again."""

    def do(self, lab: Lab) -> None:
        """Starts it and waits until it answers."""
        lab.manager.database.start()


class HangDatabase(_OnDatabase, tag="hang-database"):
    """The database server hangs: connections stay, and nothing is answered."""

    def do(self, lab: Lab) -> None:
        """Sends all its processes SIGSTOP."""
        lab.manager.database.hang()


class ResumeDatabase(_OnDatabase, tag="resume-database"):
    """The database server goes on."""

    def do(self, lab: Lab) -> None:
        """Sends all its processes SIGCONT."""
        lab.manager.database.resume()
