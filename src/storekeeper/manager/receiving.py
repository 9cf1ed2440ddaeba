"""Receives the reports of agents: lets in what is of the host, new, and follows on what is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from msgspec.structs import replace

from storekeeper import __version__
from storekeeper.credentials import Credential
from storekeeper.database.steps import Applied, Forgotten
from storekeeper.errors import FullReportNeeded, Incompatible, Refused, StoreError, Superseded
from storekeeper.manager.ledger import Ledger
from storekeeper.manager.reports import Greeting, after, is_new, own, without
from storekeeper.manager.scoping import ScopesKept
from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import HostView
from storekeeper.report import PROTOCOL, Acknowledged, Changes, Report

# How long a report may wait for the database to tell what came before it.
READ_WITHIN_S = 5.0


class Receiving:
    """Receives reports into a ledger. `has` (whether there is a host) and `linked` (by host, the keys of the
    volumes of all its storages) tell what is declared now.
    """

    def __init__(
        self,
        ledger: Ledger,
        scopes: ScopesKept,
        has: Callable[[str], bool],
        linked: Callable[[], Mapping[str, frozenset[str]]],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._scopes = scopes
        self._has = has
        self._linked = linked
        self._clock = clock

    async def hear(
        self, report: Report | Greeting, credential: Credential, address: str = ""
    ) -> Acknowledged:
        """Receives a report of an agent, which may have reported to another manager before.

        Raises: see `receive`.
        """
        host_id = credential.host_id
        if self._ledger.is_behind(host_id) or self._is_strange(report, host_id):
            await self._caught_up(host_id)
        try:
            answer = self.receive(report, credential, address)
        except (FullReportNeeded, Superseded):
            if not await self._caught_up(host_id):
                raise
            answer = self.receive(report, credential, address)
        await self._ledger.written(host_id)
        last = self._ledger.mark(host_id)
        if (last.run, last.number) < (answer.run, answer.number):
            raise FullReportNeeded("Another manager was told something else meanwhile; tell everything.")
        return answer

    async def _caught_up(self, host_id: str) -> bool:
        """Whether there was more to know; without the database an agent tells all instead."""
        before = self._ledger.mark(host_id)
        with suppress(StoreError, TimeoutError):
            # Nothing is read of a host before what was told of it here is written.
            await self._ledger.written(host_id)
            async with asyncio.timeout(READ_WITHIN_S):
                await self._ledger.catch_up([host_id])
        return self._ledger.mark(host_id) != before

    def _is_strange(self, report: Report | Greeting, host_id: str) -> bool:
        """Whether a new machine may have joined as this host, which another manager knows already."""
        last = self._ledger.mark(host_id)
        return isinstance(report, Report) and report.run == last.run and report.boot_id != last.report.boot_id

    def receive(self, report: Report | Greeting, credential: Credential, address: str = "") -> Acknowledged:
        """Applies one report of an agent, whole, or says why not and changes nothing of what is known.

        Raises:
            Refused: it speaks of another host, or of one that is no more, or another machine sent it.
            Incompatible: it is of another protocol.
            FullReportNeeded: it follows on what is not known here.
            Superseded: a later run of the agent reports already.
        """
        now, host_id = self._clock(), credential.host_id
        if report.host_id != host_id:
            raise Refused(f"This credential is of {host_id}'s agent; a host reports of itself only.")
        if not self._has(host_id):
            raise Refused(f"{host_id} is declared no more; declare it: storekeeper host add {host_id}")
        if isinstance(report, Greeting):
            raise self._incompatible(report, address)
        if credential.machine_id and report.machine_id != credential.machine_id:
            raise self._claimed(host_id, address, now)
        try:
            new = is_new(report, self._ledger.mark(host_id))
        except Refused as error:
            raise self._claimed(host_id, address, now) from error
        if new:
            self._take(report, address, now)
        scopes = self._scopes.of(host_id)
        return Acknowledged(
            run=report.run, number=report.number, scopes=scopes.version if scopes is not None else ""
        )

    def _take(self, report: Report, address: str, now: float) -> None:
        host_id = report.host_id
        view = self._ledger.view(host_id)
        given, scanners = self._scopes.given(host_id), self._scopes.scanners
        once = self._scopes.once(host_id) | view.looks.keys()
        linked = self._linked().get(host_id, frozenset())
        taken, left = own(report, given, once, linked, scanners, self._ledger.views)
        told = after(view, taken, now, self._ledger.views)
        # What was left out would be missing from what later changes follow on.
        gone = [key for key in left if key in told.looks]
        said = HostReport(
            host_id=host_id, version=report.version, machine_id=report.machine_id, boot_id=report.boot_id,
            reported_at=now, address=address,
        )  # fmt: skip
        mark = replace(self._ledger.mark(host_id), run=report.run, number=report.number, report=said)
        steps = [applied(told, changes) for changes in taken]
        self._ledger.keep(without(told, gone), mark, [*forgotten(host_id, gone), *steps])

    def _incompatible(self, greeting: Greeting, address: str) -> Incompatible:
        host_id = greeting.host_id
        error = Incompatible(
            f"The agent of {host_id} is version {greeting.version[:40]} with protocol {greeting.protocol}, "
            f"this manager {__version__} with protocol {PROTOCOL}; install the same version on both."
        )
        mark = self._ledger.mark(host_id)
        said = replace(
            mark.report, version=greeting.version[:40], incompatible=True, error_msg=str(error),
            address=address,
        )  # fmt: skip
        self._ledger.keep(self._ledger.view(host_id), replace(mark, report=said), [])
        return error

    def _claimed(self, host_id: str, address: str, now: float) -> Refused:
        text = (
            f"Another machine{f' ({address})' if address else ''} claims to be {host_id}; stop its agent, or "
            f"let the right one join anew: storekeeper host add {host_id}"
        )
        mark = replace(self._ledger.mark(host_id), claim=text, claimed_at=now)
        self._ledger.keep(self._ledger.view(host_id), mark, [])
        return Refused(text)


def applied(view: HostView, changes: Changes) -> Applied:
    """These changes, which led to what `view` has."""
    look = view.looks[changes.source, changes.scope]
    return Applied(host_id=view.host_id, changes=changes, look=look)


def forgotten(host_id: str, keys: Iterable[tuple[str, str]]) -> list[Forgotten]:
    """Looks that are dropped."""
    return [Forgotten(host_id=host_id, source=source, scope=scope) for source, scope in keys]
