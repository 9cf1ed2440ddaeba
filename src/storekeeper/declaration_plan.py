"""What has to change for a declaration to hold: steps that a person can read before they are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from storekeeper.declaration import Declared, Host, ImageStorage, Volume
from storekeeper.declaration_tables import Table, host_table, storage_table, volume_table
from storekeeper.errors import Conflict

_SIGNS = {"add": "+", "change": "~", "remove": "-"}
_KIND = {"ocfs2": "volume", "external": "external volume", "gluster": "gluster volume"}


class Step(Struct, frozen=True):
    """One change: `subject` as it is afterwards, of a removed one as it was.

    An image storage stands for itself here, without its volumes: they have steps of their own, save those
    that go with a removed storage.
    """

    verb: Literal["add", "change", "remove"]
    subject: ImageStorage | Volume | Host
    sentence: str

    def __str__(self) -> str:
        return f"{_SIGNS[self.verb]} {self.sentence}"


def wanted(own: Declared, current: Declared, given: Declared, *, prune: bool) -> Declared:
    """What is to be declared so that `given` holds beside the manager's `own` file.

    Without `prune` what is declared and not given stays. A host that a storage links stays in any case.

    Raises:
        Conflict: the manager's own file says otherwise.
    """
    storages = {} if prune else dict(current.image_storages)
    for storage_id, storage in given.image_storages.items():
        former = own.image_storages.get(storage_id) or current.image_storages.get(storage_id)
        merged = storage if prune or former is None else _merged(former, storage)
        if storage_id not in own.image_storages:
            storages[storage_id] = merged
        elif former is None or _comparable(merged) != _comparable(former):
            raise Conflict(
                f"Image storage {storage_id!r} is declared otherwise in the manager's own file; "
                "change it there, or take it out there first."
            )
    linked = {host_id for storage in storages.values() for host_id in storage.hosts}
    hosts = {key: host for key, host in current.hosts.items() if not prune or key in linked}
    for host_id, host in given.hosts.items():
        if host_id not in own.hosts:
            hosts[host_id] = host
        elif host != own.hosts[host_id]:
            raise Conflict(
                f"Host {host_id!r} is declared otherwise in the manager's own file; change it there."
            )
    return Declared(image_storages=storages, hosts=hosts)


def plan(current: Declared, wanted: Declared) -> list[Step]:
    """The steps from one to the other: removals, then storages and their volumes, then hosts."""
    return [*_removals(current, wanted), *_storages(current, wanted), *_hosts(current, wanted)]


def carried_out(declared: Declared, steps: list[Step]) -> Declared:
    """What is declared after these steps."""
    storages = dict(declared.image_storages)
    hosts = dict(declared.hosts)
    for step in steps:
        match step.subject:
            case Host(host_id=host_id) as host:
                hosts.pop(host_id, None)
                if step.verb != "remove":
                    hosts[host_id] = host
            case ImageStorage(image_storage_id=storage_id) as storage:
                former = storages.pop(storage_id, None)
                if step.verb != "remove":
                    storages[storage_id] = replace(storage, volumes=former.volumes if former else ())
            case Volume(image_storage_id=storage_id) as volume:
                left = [one for one in storages[storage_id].volumes if one.volume_id != volume.volume_id]
                if step.verb != "remove":
                    left.append(volume)
                storages[storage_id] = replace(storages[storage_id], volumes=tuple(left))
    return Declared(image_storages=storages, hosts=hosts)


def _removals(current: Declared, wanted: Declared) -> Iterator[Step]:
    for host_id, host in current.hosts.items():
        if host_id not in wanted.hosts:
            yield Step("remove", host, _named(host))
    for storage_id, storage in current.image_storages.items():
        if storage_id not in wanted.image_storages:
            volumes = len(storage.volumes)
            along = f" and its {volumes} volume{'s' * (volumes > 1)}" if volumes else ""
            yield Step("remove", replace(storage, volumes=()), f"{_named(storage)}{along}")
            continue
        left = _by_id(wanted.image_storages[storage_id])
        for volume in storage.volumes:
            if volume.volume_id not in left:
                yield Step("remove", volume, _named(volume))


def _storages(current: Declared, wanted: Declared) -> Iterator[Step]:
    for storage_id, storage in wanted.image_storages.items():
        former = current.image_storages.get(storage_id)
        itself = replace(storage, volumes=())
        if former is None:
            yield Step("add", itself, f"{_named(storage)}, reached by {', '.join(storage.hosts)}")
        elif former.hosts != storage.hosts:
            differing = _difference(storage_table(replace(former, volumes=())), storage_table(itself))
            yield Step("change", itself, f"{_named(storage)}: {differing}")
        known = _by_id(former) if former is not None else {}
        for volume in storage.volumes:
            before = known.get(volume.volume_id)
            if before is None:
                yield Step("add", volume, f"{_named(volume)}, at {volume.mount_point}")
            elif before.kind != volume.kind:
                yield Step(
                    "change", volume, f"{_named(before)} becomes {_named(volume)}, at {volume.mount_point}"
                )
            elif before != volume:
                differing = _difference(volume_table(before), volume_table(volume))
                yield Step("change", volume, f"{_named(volume)}: {differing}")


def _hosts(current: Declared, wanted: Declared) -> Iterator[Step]:
    for host_id, host in wanted.hosts.items():
        former = current.hosts.get(host_id)
        if former is None:
            yield Step("add", host, _named(host))
        elif former != host:
            yield Step("change", host, f"{_named(host)}: {_difference(host_table(former), host_table(host))}")


def _named(subject: ImageStorage | Volume | Host) -> str:
    match subject:
        case Host(host_id=host_id):
            return f"host {host_id}"
        case ImageStorage(image_storage_id=storage_id):
            return f"image storage {storage_id}"
        case Volume() as volume:
            return f"{_KIND[volume.kind]} {volume.volume_id} of {volume.image_storage_id}"


def _difference(before: Table, after: Table) -> str:
    """What differs between two tables, key by key."""
    names = dict.fromkeys([*before, *after])
    return ", ".join(
        f"{name} {_shown(before.get(name))} becomes {_shown(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    )


def _shown(value: object) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _by_id(storage: ImageStorage) -> dict[str, Volume]:
    return {volume.volume_id: volume for volume in storage.volumes}


def _merged(former: ImageStorage, given: ImageStorage) -> ImageStorage:
    """The given storage, and of the former one those volumes that are not given."""
    return replace(given, volumes=tuple({**_by_id(former), **_by_id(given)}.values()))


def _comparable(storage: ImageStorage) -> tuple[tuple[str, ...], dict[str, Volume]]:
    """A storage but for the order in which its volumes are written."""
    return storage.hosts, _by_id(storage)
