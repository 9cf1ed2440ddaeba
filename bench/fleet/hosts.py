"""What a simulated host answers when its agent looks: facts of a usual virtualization host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from bench.fleet.storages import GIB, SimulatedStorage
from storekeeper.observation import Disk, Fact, Guest, GuestDisk, Machine, Mount, Seen, Space
from storekeeper.report import Changes, changes
from storekeeper.sources.contract import Scope, Source

LOCAL_MOUNTS = ("/", "/proc", "/sys", "/dev", "/run", "/boot", "/var", "/tmp", "/home", "/dev/shm")
DISKS = 4
GUESTS = 20
WALK_S = 0.2


class SimulatedHost:
    """An `Asker` whose answers are those of a machine that is linked to one storage."""

    def __init__(self, host_id: str, number: int, storage: SimulatedStorage) -> None:
        self.host_id = host_id
        self._storage = storage
        self._last: dict[tuple[str, str], Seen] = {}
        mounts = [_mount(at, place) for at, place in enumerate(LOCAL_MOUNTS)]
        volume = _mount(99, storage.mount_point, "nfs4", storage.source)
        space = Space(
            key=storage.key, path=storage.mount_point, exists=True, is_mount_point=True, mount=volume,
            filesystem_id=storage.source, total_bytes=100 << 40, available_bytes=40 << 40,
            device_number="0:52",
        )  # fmt: skip
        machine = Machine(
            key="machine", cpu_type="x86_64", physical_cores=64, physical_ram_bytes=512 * GIB,
            hypervisor="qemu 8.2.2", kernel="6.8.0",
        )  # fmt: skip
        self._facts: Mapping[str, Mapping[str, Fact]] = {
            "mounts": _by_key(*mounts, volume),
            "space": _by_key(space),
            "machine": _by_key(machine),
            "disks": _by_key(*(_disk(number, at) for at in range(DISKS))),
            "guests": _by_key(*_guests(host_id, storage)),
        }

    async def ask(
        self, source: Source, scope: Scope, *, full: bool = False, last: Seen | None = None
    ) -> Changes:
        """See `storekeeper.agent.asking.Asker`."""
        key = (source.name, scope.key)
        known = None if full else last if source.of == "host" else self._last.get(key)
        if source.name == "images":
            if known is not None and scope.paths and all(path.endswith(".qcow2") for path in scope.paths):
                return self._at(scope.paths, known)
            seen = Seen(source="images", scope=scope.key, facts=dict(self._storage.images), took_s=WALK_S)
        else:
            facts = dict(self._facts.get(source.name, {}))
            seen = Seen(source=source.name, scope=scope.key, facts=facts)
        if source.of == "volume":
            self._last[key] = seen
        return changes(known, seen)

    async def watch(self, source: Source, scope: Scope) -> None:
        """Whoever changes images tells the agent itself."""

    def _at(self, paths: tuple[str, ...], known: Seen) -> Changes:
        """What an event's look at single paths finds."""
        images = self._storage.images
        facts = {path: images[path] for path in paths if path in images}
        known_facts = cast("dict[str, Fact]", known.facts)  # as it was answered here
        found = [fact for key, fact in facts.items() if known_facts.get(key) is not fact]
        gone = [path for path in paths if path in known_facts and path not in images]
        for fact in found:
            known_facts[fact.key] = fact
        for path in gone:
            del known_facts[path]
        return Changes(
            source="images", scope=known.scope, full=False, facts=list(found), gone=gone, faults=()
        )  # fmt: skip


def _by_key(*facts: Fact) -> dict[str, Fact]:
    return {fact.key: fact for fact in facts}


def _mount(number: int, place: str, kind: str = "ext4", source: str = "/dev/mapper/system") -> Mount:
    return Mount(
        key=str(20 + number), parent="1", device_number=f"0:{number}", root="/", mount_point=place,
        options=("rw", "relatime"), filesystem_type=kind, source=source, super_options=("rw",),
    )  # fmt: skip


def _disk(host: int, number: int) -> Disk:
    serial = f"{host:05}{number:03}"
    return Disk(
        key=f"sd{'abcdefgh'[number]}", device=f"/dev/sd{'abcdefgh'[number]}",
        physical_disk_id=f"35000c500{serial}", matchable=True, vendor="SEAGATE", product_number="ST4000NM",
        serial=serial, size_bytes=4000 * GIB, transport="sas",
    )  # fmt: skip


def _guests(host_id: str, storage: SimulatedStorage) -> list[Guest]:
    """Guests of one disk each, which other hosts' guests do not use."""
    first = storage.hosts.index(host_id) * GUESTS
    paths = list(storage.images)[first : first + GUESTS]
    return [
        Guest(
            key=f"guest-{first + at:03}", unique_id=f"{host_id}-{at}", state="running", persistent=True,
            disks=tuple(
                GuestDisk(target="vda", found_in=found_in, kind="file", format="qcow2",
                          path=f"{storage.mount_point}/{path}")
                for found_in in ("persistent", "live")
            ),
        )
        for at, path in enumerate(paths)
    ]  # fmt: skip
