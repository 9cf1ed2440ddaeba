"""Verbs that happen to the agents in the hosts, and to the clocks there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.verbs.contract import OnHost

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class StopAgent(OnHost, tag="stop-agent"):
    """The host's agent is stopped."""

    def do(self, lab: Lab) -> None:
        """Sends it SIGTERM and waits until it has ended."""
        lab.hosts[self.host].stop_agent()


class StartAgent(OnHost, tag="start-agent"):
    """The host's agent starts again, with the state that it has."""

    def do(self, lab: Lab) -> None:
        """Starts it."""
        lab.hosts[self.host].report_to(lab.manager)


class Claim(OnHost, tag="claim"):
    """An agent starts in a host, beside its own, with a copy of the state of another host's."""

    of: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """There is no such host."""
        yield from OnHost.wrong(self, scenario)
        if self.of not in {host.name for host in scenario.hosts}:
            yield f"there is no host {self.of!r}"

    def do(self, lab: Lab) -> None:
        """Copies the state and starts the agent with it."""
        lab.hosts[self.host].report_as(lab.hosts[self.of], lab.manager)


class EndClaim(OnHost, tag="end-claim"):
    """What `claim` started is ended, and the copy is gone."""

    def do(self, lab: Lab) -> None:
        """Ends it."""
        lab.hosts[self.host].stop_claim()


class SetClock(OnHost, tag="set-clock"):
    """The host's clock becomes this machine's and so many seconds; 0 puts it right."""

    ahead_s: int

    def do(self, lab: Lab) -> None:
        """Sets it."""
        lab.hosts[self.host].run(f"date -s @{int(time.time()) + self.ahead_s}")
