"""What Gluster still has to heal, and what is in split brain: `gluster volume heal VOL info summary`.

The tool mounts the volume inside itself and reads each brick's index of pending entries, so it is slow
and asked for seldom. It refuses volumes that are neither replicated nor dispersed. Its XML is made in
glusterfs' heal/src/glfs-heal.c.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from msgspec.structs import replace

from storekeeper.errors import HostError
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, BrickHeal, GlusterHeal, GlusterVolume, Seen
from storekeeper.sources.contract import Host, Scope, facts_by_key, fault_of
from storekeeper.sources.gluster import ask, brick_name, known_volumes
from storekeeper.sources.untrusted_xml import number_of, text_of

VOLUME_TIMEOUT_S = 60
ALL_TIMEOUT_S = 280
FILES_LIMIT = 16


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:  # noqa: ARG001
    """Every started volume that can heal; nothing without `scope.ask_cluster`."""
    if not scope.ask_cluster:
        return Seen(source="gluster_heals", scope=scope.key, facts={})
    try:
        volumes, faults = known_volumes(host)
    except HostError as error:
        return Seen(source="gluster_heals", scope=scope.key, facts={}, faults=(fault_of(error, "*"),))
    healing = [volume.key for volume in volumes if volume.started and _can_heal(volume)]
    heals, failures = [], list(faults)
    for name in healing:
        try:
            heals.append(_look(host, name, min(VOLUME_TIMEOUT_S, ALL_TIMEOUT_S / len(healing))))
        except HostError as error:
            failures.append(fault_of(error, name))
    return Seen(source="gluster_heals", scope=scope.key, facts=facts_by_key(heals), faults=tuple(failures))


def _can_heal(volume: GlusterVolume) -> bool:
    return volume.replica_count > 1 or volume.disperse_count > 0


def _look(host: Host, volume: str, timeout_s: float) -> GlusterHeal:
    """One volume's heals. The files in split brain are asked for only when some are counted."""
    words = ("volume", "heal", volume, "info")
    heal = parse_summary(ask(host, (*words, "summary"), timeout_s / 2), volume)
    if not any(brick.split_brain_entries > 0 for brick in heal.bricks):
        return heal
    try:
        files = parse_split_brain(ask(host, (*words, "split-brain"), timeout_s / 2))
    except HostError as error:
        return replace(heal, faults=(fault_of(error),))
    return replace(heal, split_brain_files=files)


def parse_summary(root: Element, volume: str) -> GlusterHeal:
    """The answer of `info summary --xml`. A brick that could not be asked has no numbers in it.

    Raises:
        ToolFailed: a brick's name is none.
    """
    return GlusterHeal(
        key=volume,
        bricks=tuple(_brick(brick, volume) for brick in root.iterfind("healInfo/bricks/brick")),
    )


def _brick(element: Element, volume: str) -> BrickHeal:
    host, path = brick_name(text_of(element, "name"), f"gluster volume heal {volume} info summary")
    entries = number_of(element, "totalNumberOfEntries")
    split = number_of(element, "numberOfEntriesInSplitBrain")
    return BrickHeal(
        host=host,
        path=path,
        entries=UNKNOWN if entries is None else entries,
        split_brain_entries=UNKNOWN if split is None else split,
    )


def parse_split_brain(root: Element) -> tuple[str, ...]:
    """The files of `info split-brain --xml`, each once: by its path where any brick knows it, else by its
    `<gfid:...>`, which is all that a brick knows after it lost the path's directory.
    """
    names: dict[str, str] = {}
    for file in root.iterfind("healInfo/bricks/brick/file"):
        name = escape((file.text or "").strip())
        gfid = file.get("gfid", name)
        if name.startswith("/") or not names.get(gfid):
            names[gfid] = name
    return tuple(sorted(names.values())[:FILES_LIMIT])
