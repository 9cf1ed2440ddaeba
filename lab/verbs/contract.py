"""What every verb is: a table with its name under `verb` and its words beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.scenario import Scenario


class AnyVerb(Struct, forbid_unknown_fields=True, tag_field="verb"):
    """One thing to do. Its words are those of its class."""

    def wrong(self, scenario: Scenario) -> Iterator[str]:  # noqa: ARG002
        """What of its words the scenario does not have."""
        yield from ()

    def do(self, lab: Lab) -> None:
        """Does it.

        Raises:
            LabError: it cannot be done.
        """
        raise NotImplementedError


class OnHost(AnyVerb):
    """A verb that happens to one host."""

    host: str

    def wrong(self, scenario: Scenario) -> Iterator[str]:
        """There is no such host."""
        if self.host not in {host.name for host in scenario.hosts}:
            yield f"there is no host {self.host!r}"
