"""Gluster's clusters: which hosts know the same volumes, and which one of them asks for all.

A cluster's commands take a lock of all of it. What one host was told holds for every storage that has a
volume of the cluster, whichever hosts are linked to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storekeeper.declaration import Declaration, Volume
from storekeeper.merge.truth import HostView
from storekeeper.observation import GlusterVolume

# Another host is asked about Gluster when the one in charge is silent for longer than the others by this.
SILENCE_S = 60.0


class Clusters:
    """What the hosts' views tell of clusters: two volumes that one host knows are of one cluster."""

    def __init__(self, views: Mapping[str, HostView]) -> None:
        self._views = views
        self._knowers: dict[tuple[str, str], list[str]] = {}
        self._ids: dict[str, dict[str, str]] = {}
        self._parents: dict[str, str] = {}
        # Of a thousand hosts mostly few know any.
        looks = {
            host_id: look.seen.facts
            for host_id, view in views.items()
            if (look := view.looks.get(("gluster", ""))) is not None and look.seen.facts
        }
        for host_id in sorted(looks):
            facts = looks[host_id].values()
            known = {fact.key: fact.unique_id for fact in facts if isinstance(fact, GlusterVolume)}
            if known:
                self._ids[host_id] = known
                first = self._root(next(iter(known.values())))
                for name, unique_id in known.items():
                    self._knowers.setdefault((name, unique_id), []).append(host_id)
                    self._parents[self._root(unique_id)] = first

    def tellers(self, volume: Volume, hosts: Sequence[str]) -> tuple[str, ...]:
        """The hosts that can tell of a volume of a storage with these hosts: these, then the others that
        know the very same volume.
        """
        ids = {known.get(volume.gvolume_name) for host_id in hosts if (known := self._ids.get(host_id))}
        others = [
            host_id
            for unique_id in sorted(ids - {None}, key=str)
            for host_id in self._knowers[volume.gvolume_name, str(unique_id)]
        ]
        return tuple(dict.fromkeys([*hosts, *others]))

    def askers(self, declaration: Declaration) -> frozenset[str]:
        """One host a cluster: the first linked one that reports, whose tools work and that knows the
        volume, as far as is known.
        """
        linked: dict[str, list[str]] = {}
        for storage in declaration.image_storages.values():
            for volume in storage.volumes:
                if volume.kind == "gluster":
                    of_cluster = linked.setdefault(self._cluster(volume, storage.hosts), [])
                    of_cluster += _knowing_first(self._ids, volume.gvolume_name, storage.hosts)
        latest = max((view.reported_at for view in self._views.values()), default=0.0)
        found = set()
        for hosts in linked.values():
            able = [host_id for host_id in hosts if _can_ask(self._views.get(host_id), latest)]
            found.add((able or hosts)[0])
        return frozenset(found or {declaration.host_id})

    def _cluster(self, volume: Volume, hosts: Sequence[str]) -> str:
        """A name for the cluster of a storage's volume; that of the storage while no host knows any."""
        known = [self._ids[host_id] for host_id in hosts if host_id in self._ids]
        for ids in known:
            if volume.gvolume_name in ids:
                return self._root(ids[volume.gvolume_name])
        return self._root(next(iter(known[0].values()))) if known else f"storage {volume.image_storage_id}"

    def _root(self, unique_id: str) -> str:
        while (above := self._parents.get(unique_id, unique_id)) != unique_id:
            unique_id = above
        return unique_id


def _knowing_first(ids: Mapping[str, Mapping[str, str]], name: str, hosts: Sequence[str]) -> list[str]:
    """The hosts that know the volume, then those that know none and may not have looked yet, then others."""
    return sorted(hosts, key=lambda host_id: 0 if name in ids.get(host_id, ()) else 1 + (host_id in ids))


def _can_ask(view: HostView | None, latest: float) -> bool:
    if view is None or view.reported_at < latest - SILENCE_S:
        return False
    look = view.looks.get(("gluster", ""))
    return look is None or look.seen.blind is None
