"""An agent as the manager meets it: it remembers what it told, and tells what changed since."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from storekeeper.credentials import Credential
from storekeeper.errors import FullReportNeeded
from storekeeper.manager.manager import Manager
from storekeeper.observation import Fact, Fault, Seen
from storekeeper.report import PROTOCOL, Changes, Report, changes, retained

Key = tuple[str, str]


def credential(host_id: str = "h1", machine_id: str = "machine-of-h1", **more: Any) -> Credential:
    return Credential(
        credential_id=f"agent-{host_id}", kind="agent", secret_hash=b"", created_at=0.0, host_id=host_id,
        machine_id=machine_id, **more,
    )  # fmt: skip


def report(*told: Changes, host_id: str = "h1", number: int = 1, full: bool = True, **more: Any) -> Report:
    values: dict[str, Any] = {
        "version": "1", "protocol": PROTOCOL, "machine_id": f"machine-of-{host_id}", "boot_id": "b", "run": 1,
        "sent_at": 0.0,
    }  # fmt: skip
    return Report(host_id=host_id, number=number, full=full, changes=list(told), **{**values, **more})


def saw(source: str, scope: str, *facts: Fact, faults: tuple[Fault, ...] = ()) -> Changes:
    return changes(
        None, Seen(source=source, scope=scope, facts={fact.key: fact for fact in facts}, faults=faults)
    )


@dataclass
class Agent:
    """One agent of one host. `history` is all that it ever sent, for a network that sends it again."""

    host_id: str
    run: int = 1
    number: int = 0
    full: bool = True
    told: dict[Key, Seen] = field(default_factory=dict)
    current: dict[Key, Seen] = field(default_factory=dict)
    looked: set[Key] = field(default_factory=set)
    under_way: Report | None = None
    history: list[Report] = field(default_factory=list)

    @property
    def credential(self) -> Credential:
        return credential(self.host_id, f"machine-of-{self.host_id}")

    def sees(self, source: str, scope: str, *facts: Fact) -> None:
        seen = Seen(source=source, scope=scope, facts={fact.key: fact for fact in facts})
        self.current[source, scope] = seen
        self.looked.add((source, scope))

    def starts_again(self) -> None:
        self.run += 1
        self.number = 0
        self.full = True
        self.told = {}
        self.under_way = None

    def report(self) -> Report:
        """What it sends now: once more what was not answered."""
        if self.under_way is None:
            self.number += 1
            if self.full:
                told = [changes(None, seen) for seen in self.current.values()]
            else:
                told = [changes(self.told.get(key), self.current[key]) for key in sorted(self.looked)]
            self.looked = set()
            self.under_way = report(
                *told, host_id=self.host_id, run=self.run, number=self.number, full=self.full
            )
            self.history.append(self.under_way)
        return self.under_way

    def tells(self, manager: Manager, *, answer_arrives: bool = True) -> bool:
        """Whether all is told."""
        try:
            manager.receive(self.report(), self.credential)
        except FullReportNeeded:
            return self._is_to_tell_all(answer_arrives)
        return self._is_acknowledged(answer_arrives)

    async def tells_one_of_several(self, manager: Manager, *, answer_arrives: bool = True) -> bool:
        """Whether all is told."""
        try:
            await manager.hear(self.report(), self.credential)
        except FullReportNeeded:
            return self._is_to_tell_all(answer_arrives)
        return self._is_acknowledged(answer_arrives)

    def _is_to_tell_all(self, answer_arrives: bool) -> bool:
        if answer_arrives:
            self.under_way, self.full = None, True
        return False

    def _is_acknowledged(self, answer_arrives: bool) -> bool:
        if not answer_arrives or self.under_way is None:
            return False
        for change in self.under_way.changes:
            key = (change.source, change.scope)
            self.told[key] = retained(self.told.get(key), change)
        self.under_way, self.full = None, False
        return not self.looked
