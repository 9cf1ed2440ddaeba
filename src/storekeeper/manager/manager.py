"""The manager: applies reports, merges them, publishes bytes, and says where agents are to look.

Order matters here. The invariants:

1. Reports are applied in the order in which they come, whole or not at all, on the event loop; views are
   immutable, so that a merge in another thread sees one consistent moment.
2. One publisher merges and publishes: truths come out in the order in which their reports went in.
3. A document's bytes are replaced only when they differ, and all encodings at once.
4. What is written to the store was applied before; a lost write costs a reread, never the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from time import time

import structlog

from storekeeper import __version__
from storekeeper.credentials import Credential
from storekeeper.database import Store
from storekeeper.database.store import Applied, Forgotten, whole
from storekeeper.declaration import Declaration, Declared
from storekeeper.declaration_changes import combined
from storekeeper.errors import Incompatible, Refused, StoreError
from storekeeper.manager.access import Access
from storekeeper.manager.events import Events, steps
from storekeeper.manager.following import follow
from storekeeper.manager.hosts import HostReports
from storekeeper.manager.published import Published, publish, published_anew
from storekeeper.manager.reports import Greeting, Sequence, after, outdated, own, without
from storekeeper.manager.scoping import ScopesKept
from storekeeper.merge.discovery import discover
from storekeeper.merge.hosts import HostReport, Known
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView, Memory, Truth
from storekeeper.report import PROTOCOL, Acknowledged, Changes, Report, Scopes, received
from storekeeper.sources.contract import Scope

LONGEST_WAIT_S = 3600.0
# The store is written behind the reports, in batches.
WRITE_EVERY_S = 1.0

log = structlog.get_logger()

Rescope = Callable[[str, list[tuple[str, Scope]]], None]


class Manager:
    """The last truth, and what is published of it.

    `rescope(host_id, scopes)` tells the agent inside this process where to look, `answered()` whether it has
    looked there since: before that nothing is known, and the manager is not `ready`, save when the store
    knows of former looks. Other agents `receive` and ask for their scopes. `directories`: see `declared`.
    """

    def __init__(
        self,
        declaration: Declaration,
        store: Store,
        rescope: Rescope,
        answered: Callable[[], bool],
        *,
        directories: tuple[str, ...] = (),
        clock: Callable[[], float] = time,
    ) -> None:
        self._file = declaration
        self._declaration = combined(declaration, store.declared())
        self._links: tuple[Declaration, Mapping[str, frozenset[str]]] = (
            self._declaration,
            _linked(self._declaration),
        )
        self._store = store
        self._rescope = rescope
        self._answered = answered
        self._directories = directories
        self._clock = clock
        self._started_at = clock()
        self._views = store.views()
        self._truth = Truth(storages={}, memory=store.memory(), valid_until=0.0)
        self._published: dict[str, Published] = {}
        self._listing = publish(b"[]")
        self._dirty = asyncio.Event()
        self._written_memory: Memory | None = self._truth.memory
        self._unwritten: list[Applied | Forgotten] = []
        self._remembers = any(view.looks for view in self._views.values())
        self._publishing = asyncio.Lock()
        self._declaring = asyncio.Lock()
        self._sequence = Sequence()
        self._hosts = HostReports(declaration.host_timeout_s)
        self._scopes = ScopesKept(declaration.host_timeout_s, declaration.every_s)
        self.ready = False
        # SHA-256 of the certificate that clients are to pin, `sha256:HEX`; `""` without one.
        self.fingerprint = ""
        self.access = Access(store, clock)
        self.events = Events()

    # --- what is asked of it --------------------------------------------------------------------

    def storages(self) -> tuple[str, ...]:
        """The ids of all image storages."""
        return tuple(self._published)

    def published(self, image_storage_id: str) -> Published | None:
        """The prepared bytes of one storage's document."""
        return self._published.get(image_storage_id)

    def listing(self) -> Published:
        """The prepared bytes of the list of all storages."""
        return self._listing

    def truth(self) -> Truth:
        """The last truth."""
        return self._truth

    def view(self, host_id: str) -> HostView:
        """What a host has told so far."""
        return self._views.get(host_id) or HostView(host_id=host_id, looks={})

    def views(self) -> Mapping[str, HostView]:
        """What every host has told so far."""
        return self._views

    def host_reports(self) -> Mapping[str, HostReport]:
        """What is known of the hosts that reported beside what they saw, by their ids."""
        return self._hosts.now(self._clock())

    def known(self) -> Known:
        """All that the states of hosts and guests follow from."""
        return Known(
            declaration=self._declaration, views=self._views, reports=self.host_reports(),
            started_at=self._started_at, now=self._clock(),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        """All that is declared: by the file, through the API, or found for want of both."""
        return self._declaration

    @property
    def file(self) -> Declaration:
        """What the manager's own file declares, which the API cannot change."""
        return self._file

    def host_ids(self) -> tuple[str, ...]:
        """The ids of all hosts: declared by themselves, or linked by a storage."""
        return tuple(dict.fromkeys([*self._declaration.hosts, *self._linked()]))

    def scopes_of(self, host_id: str) -> Scopes | None:
        """Where a host is to look; None before the first truth."""
        return self._scopes.of(host_id)

    async def scopes_after(self, host_id: str, version: str, timeout_s: float) -> Scopes | None:
        """Where a host is to look, once that is not what `version` names; None if it stays so."""
        return await self._scopes.after(host_id, version, timeout_s)

    # --- what it is told ------------------------------------------------------------------------

    def apply(self, host_id: str, changes: Changes) -> None:
        """Applies what the agent inside this process saw."""
        now = self._clock()
        view = received(self.view(host_id), changes, now)
        self._hosts.reported(HostReport(host_id=host_id, version=__version__, reported_at=now))
        self._keep(view, [changes])
        self._dirty.set()

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
        if host_id not in self.host_ids():
            raise Refused(f"{host_id} is declared no more; declare it: storekeeper host add {host_id}")
        if isinstance(report, Greeting):
            raise self._incompatible(report, address)
        if credential.machine_id and report.machine_id != credential.machine_id:
            raise self._claimed(host_id, address, now)
        try:
            new = self._sequence.is_new(report)
        except Refused as error:
            raise self._claimed(host_id, address, now) from error
        if new:
            self._take(report, now)
            said = HostReport(
                host_id=host_id, version=report.version, machine_id=report.machine_id,
                boot_id=report.boot_id, reported_at=now, address=address,
            )  # fmt: skip
            self._hosts.reported(said)
        scopes = self.scopes_of(host_id)
        return Acknowledged(
            run=report.run, number=report.number, scopes=scopes.version if scopes is not None else ""
        )

    def forget_agent(self, host_id: str) -> None:
        """Another machine may be this host from now on, or none: its reports begin anew."""
        self._sequence.forget(host_id)
        self._hosts.forget(host_id)

    async def declared(self) -> Declared:
        """What was declared through the API. Raises StoreError where the database does not answer."""
        return await asyncio.to_thread(self._store.declared)

    async def declare(self, change: Callable[[Declared], Declared]) -> Declared:
        """Declares what `change` makes of what was declared so far; published when this returns.

        Raises:
            StoreError: the database does not answer; whatever `change` raises. Nothing is changed then.
        """
        after = await asyncio.to_thread(self._store.declare, change)
        await self.redeclare()
        return after

    async def redeclare(self) -> None:
        """Takes up what was declared through the API since; published when this returns.

        Raises:
            StoreError: the database does not answer.
        """
        # One at a time: what was read first must not be taken up last.
        async with self._declaring:
            self._declaration = combined(self._file, await asyncio.to_thread(self._store.declared))
        await self.publish()

    def _take(self, report: Report, now: float) -> None:
        view = self.view(report.host_id)
        given, scanners = self._scopes.given(report.host_id), self._scopes.scanners
        once = self._scopes.once(report.host_id) | view.looks.keys()
        linked = self._linked().get(report.host_id, frozenset())
        taken, left = own(report, given, once, linked, scanners, self._views)
        silent = now - view.reported_at >= self._file.host_timeout_s
        # What was left out would be missing from what later changes follow on.
        self._keep(self._dropped(after(view, taken, now), left), taken)
        self._sequence.applied(report)
        if taken or silent:
            self._dirty.set()

    def _linked(self) -> Mapping[str, frozenset[str]]:
        """By host: the keys of the volumes of all storages that it is linked to, as now declared."""
        if self._links[0] is not self._declaration:
            self._links = (self._declaration, _linked(self._declaration))
        return self._links[1]

    def _dropped(self, view: HostView, keys: Iterable[tuple[str, str]]) -> HostView:
        """`view` without some of its looks, which the store forgets too."""
        gone = [key for key in keys if key in view.looks]
        self._unwritten += [Forgotten(host_id=view.host_id, source=key[0], scope=key[1]) for key in gone]
        return without(view, gone) if gone else view

    def _keep(self, view: HostView, taken: Iterable[Changes]) -> None:
        self._views = {**self._views, view.host_id: view}
        for changes in taken:
            look = view.looks[changes.source, changes.scope]
            self._unwritten.append(Applied(host_id=view.host_id, changes=changes, look=look))

    def _incompatible(self, greeting: Greeting, address: str) -> Incompatible:
        host_id = greeting.host_id
        error = Incompatible(
            f"The agent of {host_id} is version {greeting.version[:40]} with protocol {greeting.protocol}, "
            f"this manager {__version__} with protocol {PROTOCOL}; install the same version on both."
        )
        said = HostReport(
            host_id=host_id, version=greeting.version[:40], incompatible=True, error_msg=str(error),
            address=address, reported_at=self._hosts.reported_at(host_id),
        )  # fmt: skip
        self._hosts.reported(said)
        self._dirty.set()
        return error

    def _claimed(self, host_id: str, address: str, now: float) -> Refused:
        text = (
            f"Another machine{f' ({address})' if address else ''} claims to be {host_id}; stop its agent, or "
            f"let the right one join anew: storekeeper host add {host_id}"
        )
        self._hosts.claimed(host_id, text, now)
        self._dirty.set()
        return Refused(text)

    # --- what it does ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Publishes whenever a report came or time made the truth stale; writes behind. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_forever())
            group.create_task(self._write_forever())
            group.create_task(follow(self._store, self.access.refresh, self.redeclare))

    async def publish(self) -> None:
        """Merges what is known, publishes what changed, and says where to look from now on."""
        async with self._publishing:
            self._dirty.clear()
            views, clock = self._views, self._clock()
            declaration = self._declaration = declared(self._declaration, views, self._directories)
            former, known = self._truth, self._published
            truth, published, listing = await asyncio.to_thread(
                published_anew, declaration, views, former, clock, known, self._listing
            )
            if published != known:
                changed = await asyncio.to_thread(steps, former, truth, known, published)
                self.events.add(changed)
            self._truth, self._published, self._listing = truth, published, listing
            wanted = await asyncio.to_thread(scopes, declaration, views, truth)
            self._scope(declaration, wanted)
            self.ready = self.ready or self._remembers or self._answered()

    def _scope(self, declaration: Declaration, wanted: dict[str, list[tuple[str, Scope]]]) -> None:
        """Tells the agents where to look, and forgets what was seen where they look no more."""
        host_id, linked = declaration.host_id, self._linked()
        if not declaration.found and host_id not in linked:
            wanted = {**wanted, host_id: []}
        self._scopes.keep(wanted)
        self._rescope(host_id, wanted.get(host_id, []))
        pruned = {}
        for other, view in self._views.items():
            # The agent in this process would not tell all anew where it is to look again.
            if other != host_id:
                given, volumes = self._scopes.given(other), linked.get(other, frozenset())
                over = outdated(view, given, volumes, self._views, self._scopes.scanners)
                self._scopes.over(other, over)
                pruned[other] = self._dropped(view, over)
        self._views = {**self._views, **pruned}

    async def close(self) -> None:
        """Writes what is not written yet, and closes the store."""
        await self.write_behind()
        await asyncio.to_thread(self._store.close)

    async def _publish_forever(self) -> None:
        while True:
            await self.publish()
            wait_s = max(self._truth.valid_until - self._clock(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LONGEST_WAIT_S)):
                    await self._dirty.wait()

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write_behind()

    async def write_behind(self) -> None:
        """Writes what was applied since the last time, in one transaction."""
        applied, self._unwritten = self._unwritten, []
        memory = self._truth.memory
        if not applied and memory is self._written_memory:
            return
        try:
            await asyncio.to_thread(self._store.write, applied, memory)
            self._written_memory = memory
        except StoreError as error:
            # Tried again with the next: of each scope the last look, so that this does not grow.
            self._unwritten = whole([*applied, *self._unwritten])
            log.warning("not written", error=str(error))


def _linked(declaration: Declaration) -> dict[str, frozenset[str]]:
    """By host: the keys of the volumes of all storages that it is linked to."""
    linked: dict[str, set[str]] = {}
    for storage in declaration.image_storages.values():
        for host_id in storage.hosts:
            linked.setdefault(host_id, set()).update(volume.key for volume in storage.volumes)
    return {host_id: frozenset(keys) for host_id, keys in linked.items()}


def declared(
    declaration: Declaration, views: Mapping[str, HostView], directories: tuple[str, ...] = ()
) -> Declaration:
    """The declaration; where none was written, what its host is seen to have now.

    `directories`: those known to be there and meant for images.
    """
    view = views.get(declaration.host_id)
    if not declaration.found or view is None:
        return declaration
    found = discover(declaration, view, directories)
    return declaration if found == declaration else found
