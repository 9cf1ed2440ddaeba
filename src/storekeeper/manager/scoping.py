"""Where each host is to look, kept: with a version, for whom waits for the next one, and who had what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b

import msgspec

from storekeeper.report import Scopes
from storekeeper.sources import INSIDE
from storekeeper.sources.contract import Scope

Key = tuple[str, str]
Wanted = Sequence[tuple[str, Scope]]

# An agent is heard this often within the time after which it counts as silent.
REPORTS_A_TIMEOUT = 6
_VERSION_BYTES = 16

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def scopes_as_told(wanted: Wanted, report_every_s: float, every_s: Mapping[str, float]) -> Scopes:
    """The scopes as they travel; from every manager with the same version."""
    told = Scopes(version="", scopes=list(wanted), report_every_s=report_every_s, every_s=dict(every_s))
    return msgspec.structs.replace(
        told, version=blake2b(_encode(told), digest_size=_VERSION_BYTES).hexdigest()
    )


class ScopesKept:
    """The scopes of every host. None is told before the first are known: an agent would stop looking."""

    def __init__(self, host_timeout_s: float, every_s: Mapping[str, float]) -> None:
        self._report_every_s = max(host_timeout_s / REPORTS_A_TIMEOUT, 1.0)
        self._every_s = every_s
        self._nothing: Scopes | None = None
        self._told: dict[str, Scopes] = {}
        self._given: dict[str, frozenset[Key]] = {}
        self._once: dict[str, frozenset[Key]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self.scanners: Mapping[Key, str] = {}

    def keep(self, wanted: Mapping[str, Wanted]) -> None:
        """These are the scopes of all hosts now; whoever waits for other ones than it has gets them."""
        first = self._nothing is None
        self._nothing = scopes_as_told([], self._report_every_s, self._every_s)
        changed = {
            host_id
            for host_id in wanted.keys() | self._told.keys()
            if host_id not in self._told or self._told[host_id].scopes != list(wanted.get(host_id, ()))
        }
        for host_id in changed:
            mine = wanted.get(host_id)
            self._once[host_id] = self.once(host_id) | self.given(host_id)
            if mine is None:
                del self._told[host_id], self._given[host_id]
            else:
                self._told[host_id] = scopes_as_told(mine, self._report_every_s, self._every_s)
                self._given[host_id] = frozenset((name, scope.key) for name, scope in mine)
        if changed:
            self.scanners = {
                key: host_id for host_id, keys in self._given.items() for key in keys if key[0] in INSIDE
            }
        for host_id in set(self._news) if first else changed & self._news.keys():
            self._news.pop(host_id).set()

    def of(self, host_id: str) -> Scopes | None:
        """A host's scopes, none for one that is linked to nothing; None before any are known."""
        return self._told.get(host_id, self._nothing)

    async def after(self, host_id: str, version: str, timeout_s: float) -> Scopes | None:
        """A host's scopes once they are of another version; None when they were not within the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (scopes := self.of(host_id)) is None or scopes.version == version:
                    await self._news.setdefault(host_id, asyncio.Event()).wait()
                return scopes
        return None

    def given(self, host_id: str) -> frozenset[Key]:
        """The (source, scope key) that a host is to look at."""
        return self._given.get(host_id, frozenset())

    def once(self, host_id: str) -> frozenset[Key]:
        """Those that it was to look at before, at some time."""
        return self._once.get(host_id, frozenset())

    def over(self, host_id: str, keys: Collection[Key]) -> None:
        """It looked at these before this manager started."""
        self._once[host_id] = self.once(host_id).union(keys)
