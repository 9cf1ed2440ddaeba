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
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import time

from msgspec.structs import replace

from storekeeper import __version__
from storekeeper.credentials import Credential
from storekeeper.database import Store
from storekeeper.database.listening import Subject
from storekeeper.declaration import Declaration, Declared
from storekeeper.declaration_changes import combined
from storekeeper.manager.access import Access
from storekeeper.manager.events import Events, steps
from storekeeper.manager.following import Heed, Ids, follow
from storekeeper.manager.hosts import host_reports
from storekeeper.manager.ledger import Ledger
from storekeeper.manager.published import Published, publish, published_anew
from storekeeper.manager.receiving import Receiving, applied, forgotten
from storekeeper.manager.replaying import adopting
from storekeeper.manager.reports import Greeting, after, outdated, without
from storekeeper.manager.scoping import ScopesKept
from storekeeper.manager.waiting import in_thread
from storekeeper.merge.discovery import discover
from storekeeper.merge.hosts import HostReport, Known
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView, Truth
from storekeeper.report import Acknowledged, Changes, Report, Scopes
from storekeeper.sources.contract import Scope

LONGEST_WAIT_S = 3600.0
LONGEST_REST_S = 0.02

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
        self._dirty = asyncio.Event()
        self._ledger = Ledger(store, declaration.host_id, self._started_at, self._noticed)
        self._truth = Truth(storages={}, memory=self._ledger.memory, valid_until=0.0)
        self._published: dict[str, Published] = {}
        self._listing = publish(b"[]")
        self._remembers = any(view.looks for view in self._ledger.views.values())
        self._publishing = asyncio.Lock()
        self._declaring = asyncio.Lock()
        self._scopes = ScopesKept(declaration.host_timeout_s, declaration.every_s)
        self._receiving = Receiving(self._ledger, self._scopes, self._has, self._linked, clock)
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
        return self._ledger.view(host_id)

    def views(self) -> Mapping[str, HostView]:
        """What every host has told so far."""
        return self._ledger.views

    def host_reports(self) -> Mapping[str, HostReport]:
        """What is known of the hosts that reported beside what they saw, by their ids."""
        return host_reports(self._ledger.marks, self._file.host_timeout_s, self._clock())

    def known(self) -> Known:
        """All that the states of hosts and guests follow from."""
        return Known(
            declaration=self._declaration, views=self.views(), reports=self.host_reports(),
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

    def _has(self, host_id: str) -> bool:
        return host_id in self._declaration.hosts or host_id in self._linked()

    def scopes_of(self, host_id: str) -> Scopes | None:
        """Where a host is to look; None before the first truth."""
        return self._scopes.of(host_id)

    async def scopes_after(self, host_id: str, version: str, timeout_s: float) -> Scopes | None:
        """Where a host is to look, once that is not what `version` names; None if it stays so."""
        return await self._scopes.after(host_id, version, timeout_s)

    # --- what it is told ------------------------------------------------------------------------

    def apply(self, host_id: str, changes: Changes) -> None:
        """Applies what the agent inside this process saw."""
        if self._ledger.superseded:
            return
        now, key = self._clock(), (changes.source, changes.scope)
        if not changes.full and key not in self.view(host_id).looks:
            # Another manager dropped what this follows on: it is looked at anew.
            scopes = self._scopes.of(host_id)
            wanted = scopes.scopes if scopes is not None else []
            self._rescope(host_id, [(name, scope) for name, scope in wanted if (name, scope.key) != key])
            self._rescope(host_id, wanted)
            return
        view = after(self.view(host_id), [changes], now, self.views())
        mark = self._ledger.mark(host_id)
        said = replace(mark.report, version=__version__, reported_at=now, incompatible=False, error_msg="")
        mark = replace(mark, report=said, inside=self._ledger.inside)
        self._ledger.keep(view, mark, [applied(view, changes)])
        self._dirty.set()

    async def hear(
        self, report: Report | Greeting, credential: Credential, address: str = ""
    ) -> Acknowledged:
        """Receives a report of an agent, which may have reported to another manager before.

        Raises: see `Receiving`.
        """
        return await self._receiving.hear(report, credential, address)

    def receive(self, report: Report | Greeting, credential: Credential, address: str = "") -> Acknowledged:
        """Receives a report of an agent that never reported elsewhere. Raises: see `Receiving`."""
        return self._receiving.receive(report, credential, address)

    async def forget_agent(self, host_id: str) -> None:
        """Another machine may be this host from now on, or none: its reports begin anew."""
        self._ledger.begin_anew(host_id)
        await self._ledger.written(host_id)

    async def declared(self) -> Declared:
        """What was declared through the API. Raises StoreError where the database does not answer."""
        return await in_thread(self._store.declared)

    async def declare(self, change: Callable[[Declared], Declared]) -> Declared:
        """Declares what `change` makes of what was declared so far; published when this returns.

        Raises:
            StoreError: the database does not answer; whatever `change` raises. Nothing is changed then.
        """
        after = await in_thread(self._store.declare, change)
        await self.redeclare()
        return after

    async def redeclare(self) -> None:
        """Takes up what was declared through the API since; published when this returns.

        Raises:
            StoreError: the database does not answer.
        """
        # One at a time: what was read first must not be taken up last.
        async with self._declaring:
            self._declaration = combined(self._file, await in_thread(self._store.declared))
        await self.publish()

    def _noticed(self, former: HostView, changed: bool) -> None:
        if changed or self._clock() - former.reported_at >= self._file.host_timeout_s:
            self._dirty.set()

    def _linked(self) -> Mapping[str, frozenset[str]]:
        """By host: the keys of the volumes of all storages that it is linked to, as now declared."""
        if self._links[0] is not self._declaration:
            self._links = (self._declaration, _linked(self._declaration))
        return self._links[1]

    # --- what it does ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Publishes whenever a report came or time made the truth stale; writes behind. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_forever())
            group.create_task(self._ledger.run(lambda: self._truth.memory))
            group.create_task(follow(self._store, self._heeds()))

    def _heeds(self) -> dict[Subject, Heed]:
        """What is done when other managers wrote something."""

        async def credentials(_: Ids) -> None:
            await in_thread(self.access.refresh)

        async def declared(_: Ids) -> None:
            before = self.host_ids()
            await self.redeclare()
            # What was written of them may have been read before they were known here.
            await self._ledger.catch_up(set(self.host_ids()).difference(before))

        async def hosts(host_ids: Ids) -> None:
            await self._ledger.catch_up(host_ids or self.host_ids())

        async def memory(volume_keys: Ids) -> None:
            if await self._ledger.remember(volume_keys or _volume_keys(self._declaration)):
                self._dirty.set()

        return {"credentials": credentials, "declared": declared, "hosts": hosts, "memory": memory}

    async def publish(self) -> None:
        """Merges what is known, publishes what changed, and says where to look from now on."""
        async with self._publishing:
            self._dirty.clear()
            views, clock, others = self.views(), self._clock(), self._ledger.others
            declaration = self._declaration = declared(self._declaration, views, self._directories)
            former, known = self._truth, self._published
            memory = adopting(former.memory, others, _volume_keys(declaration) if others else ())
            truth, published, listing = await asyncio.to_thread(
                published_anew, declaration, views, former, memory, clock, known, self._listing
            )
            if published != known:
                changed = await asyncio.to_thread(steps, former, truth, known, published)
                self.events.add(changed)
            self._truth, self._published, self._listing = truth, published, listing
            self._ledger.taken_up(others)
            wanted = await asyncio.to_thread(scopes, declaration, views, truth)
            self._scope(declaration, wanted)
            self.ready = self.ready or self._remembers or self._answered()

    def _scope(self, declaration: Declaration, wanted: dict[str, list[tuple[str, Scope]]]) -> None:
        """Tells the agents where to look, and forgets what was seen where they look no more."""
        host_id, linked = declaration.host_id, self._linked()
        if not declaration.found and host_id not in linked:
            wanted = {**wanted, host_id: []}
        self._scopes.keep(wanted)
        now = self._clock()
        self._ledger.take_over(now, self._file.host_timeout_s)
        self._rescope(host_id, [] if self._ledger.superseded else wanted.get(host_id, []))
        for other, view in self.views().items():
            given = self._scopes.given(other)
            if view.looks.keys() <= given:
                continue
            silent = now - view.reported_at >= self._file.host_timeout_s
            # The agent in this process would not tell all anew where it is to look again.
            if other != host_id and (silent or self._ledger.is_ours(other)):
                volumes = linked.get(other, frozenset())
                over = outdated(view, given, volumes, self.views(), self._scopes.scanners)
                self._scopes.over(other, over)
                if over:
                    steps = forgotten(other, over)
                    self._ledger.keep(without(view, over), self._ledger.mark(other), steps)

    async def close(self) -> None:
        """Writes what is not written yet, and closes the store."""
        await self._ledger.finish(self._truth.memory)
        await asyncio.to_thread(self._store.close)

    async def _publish_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self.publish()
            # As long for what is told meanwhile, which the next one then publishes together.
            await asyncio.sleep(min(loop.time() - began, LONGEST_REST_S))
            wait_s = max(self._truth.valid_until - self._clock(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LONGEST_WAIT_S)):
                    await self._dirty.wait()

    async def write_behind(self) -> None:
        """Writes what was applied, as much as is good in one transaction."""
        await self._ledger.write(self._truth.memory)


def _volume_keys(declaration: Declaration) -> frozenset[str]:
    return frozenset(
        volume.key for storage in declaration.image_storages.values() for volume in storage.volumes
    )


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
