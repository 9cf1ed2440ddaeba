"""Gluster volumes: `gluster volume info`, joined with `gluster volume status` of each started one.

`volume info` is answered by this host's glusterd alone. `volume status` takes a lock of the volume in the
whole cluster and asks every peer: a dead peer's bricks are missing from it, a hung peer delays it without
end. glusterd's XML is made in glusterfs' cli/src/cli-xml-output.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from msgspec.structs import replace

from storekeeper.errors import Absent, Busy, HostError, TimedOut, ToolFailed
from storekeeper.naming import escape
from storekeeper.observation import Brick, Fault, GlusterVolume, Seen
from storekeeper.sources.contract import Host, Output, Scope, facts_by_key, fault_of
from storekeeper.sources.untrusted_xml import number_of, parse, text_of

INFO_TIMEOUT_S = 5
STATUS_TIMEOUT_S = 10
_VOLUMES = "/var/lib/glusterd/vols"
_STARTED = 1
_TRANSPORTS = {0: "tcp", 1: "rdma", 2: "tcp,rdma"}

Online = dict[tuple[str, str], bool | None]


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """Every volume of the cluster. Without `scope.ask_cluster` no brick's `online` is asked for."""
    try:
        volumes, faults = known_volumes(host)
    except HostError as error:
        return Seen(source="gluster", scope=scope.key, facts={}, faults=(fault_of(error, "*"),))
    if scope.ask_cluster:
        volumes, locked = _with_status(host, volumes, last)
        faults += locked
    return Seen(source="gluster", scope=scope.key, facts=facts_by_key(volumes), faults=faults)


def known_volumes(host: Host) -> tuple[list[GlusterVolume], tuple[Fault, ...]]:
    """What `volume info` says, bricks' `online` not told; none on a host that never had a volume.

    Raises:
        HostError: nothing could be learned.
    """
    try:
        return parse_info(ask(host, ("volume", "info"), INFO_TIMEOUT_S))
    except HostError:
        if _has_nothing_of_gluster(host):
            return [], ()
        raise


def ask(host: Host, words: Sequence[str], timeout_s: float) -> Element:
    """Runs `gluster WORDS --xml` and returns the root of its answer.

    Raises:
        Busy: another command holds the cluster's lock.
        HostError: no answer in time, or a refusal.
    """
    # The tool's own --timeout ends it cleanly; `volume heal` does not obey it, so the deadline stays.
    argv = ("gluster", "--mode=script", f"--timeout={max(1, int(timeout_s))}", *words, "--xml")
    return answer(host.run(argv, deadline_s=timeout_s + 1), f"gluster {' '.join(words)}")


def answer(output: Output, subject: str) -> Element:
    """The root of the XML that the tool printed, if it says that all is well. Raises as `ask` does."""
    if b"Another transaction is in progress" in output.out + output.err:
        raise Busy(subject, "another gluster command is in progress in the cluster")
    if b"<cliOutput" not in output.out:
        said = escape((output.out.strip() or output.err.strip())[:200].split(b"\n")[0])
        if "timed out" in said:
            raise TimedOut(subject, "glusterd did not answer in time; is a peer hung?")
        if "Connection failed" in said:
            raise ToolFailed(subject, "glusterd does not run; see systemctl status glusterd")
        raise ToolFailed(subject, said or f"failed with exit status {output.status}")
    root = parse(output.out, subject)
    if text_of(root, "opRet") != "0":
        raise ToolFailed(subject, escape(text_of(root, "opErrstr")) or "failed without a reason")
    return root


def parse_info(root: Element) -> tuple[list[GlusterVolume], tuple[Fault, ...]]:
    """The volumes of `volume info --xml`; one that makes no sense is a fault that hides it alone.

    Raises:
        ToolFailed: this is no list of volumes.
    """
    if root.find("volInfo/volumes") is None:
        raise ToolFailed("gluster volume info", "its answer has no list of volumes")
    volumes, faults = [], []
    for element in root.iterfind("volInfo/volumes/volume"):
        name = escape(text_of(element, "name"))
        if not name:
            raise ToolFailed("gluster volume info", "it lists a volume without a name")
        try:
            volumes.append(_volume(element, name))
        except ToolFailed as error:
            faults.append(fault_of(error, name))
    return volumes, tuple(faults)


def _volume(element: Element, name: str) -> GlusterVolume:
    bricks = tuple(_brick(brick, name) for brick in element.iterfind("bricks/brick"))
    replicas, disperse = _count(element, "replicaCount", name), _count(element, "disperseCount", name)
    # distCount counted the bricks of a subvolume up to glusterfs 3.x, and counts subvolumes since.
    of_subvolume = max(1, replicas) * max(1, disperse)
    if not bricks or len(bricks) != _count(element, "brickCount", name) or len(bricks) % of_subvolume:
        raise _nonsense(name, f"{len(bricks)} bricks do not make subvolumes of {of_subvolume}")
    redundancy, arbiters = _count(element, "redundancyCount", name), _count(element, "arbiterCount", name)
    if (disperse and redundancy >= disperse) or (arbiters and arbiters >= replicas):
        raise _nonsense(name, "it has no brick with data in a subvolume")
    return GlusterVolume(
        key=name,
        unique_id=escape(text_of(element, "id")),
        started=number_of(element, "status") == _STARTED,
        type_name=escape(text_of(element, "typeStr")),
        transport=_TRANSPORTS.get(_count(element, "transport", name), ""),
        brick_count=len(bricks),
        dist_count=len(bricks) // of_subvolume,
        replica_count=replicas,
        arbiter_count=arbiters,
        disperse_count=disperse,
        redundancy_count=redundancy,
        bricks=bricks,
        options={
            escape(text_of(option, "name")): escape(text_of(option, "value"))
            for option in element.iterfind("options/option")
        },
    )


def _brick(element: Element, volume: str) -> Brick:
    host, path = brick_name(text_of(element, "name"), f"gluster volume info of {volume}")
    return Brick(host=host, path=path, arbiter=text_of(element, "isArbiter") == "1")


def brick_name(name: str, subject: str) -> tuple[str, str]:
    """`host:/path` in its two parts. An IPv6 address holds colons, but none before a slash.

    Raises:
        ToolFailed: it is no such name.
    """
    host, found, path = name.partition(":/")
    if not host or not found:
        raise ToolFailed(subject, f"{escape(name)!r} is no brick")
    return escape(host), escape(f"/{path}")


def _count(element: Element, path: str, volume: str) -> int:
    number = number_of(element, path)
    if number is None:
        raise _nonsense(volume, f"it has no {path}")
    return number


def _nonsense(volume: str, text: str) -> ToolFailed:
    return ToolFailed(f"gluster volume info of {volume}", text)


def _with_status(
    host: Host, volumes: list[GlusterVolume], last: Seen | None
) -> tuple[list[GlusterVolume], tuple[Fault, ...]]:
    """The volumes, with what `volume status` says, and the locks that were met for the first time.

    Such a volume keeps what the look before saw: an admin's command of a moment is no trouble. Any other
    failure leaves its bricks unknown. After one time-out the other volumes are not asked: it is glusterd
    that does not answer, and every question would wait as long.
    """
    joined: list[GlusterVolume] = []
    locked: list[Fault] = []
    silent: HostError | None = None
    for volume in volumes:
        if not volume.started:
            joined.append(volume)
            continue
        try:
            if silent:
                raise silent
            online = parse_status(ask(host, ("volume", "status", volume.key), STATUS_TIMEOUT_S))
            joined.append(_join(volume, online))
        except HostError as error:
            silent = error if isinstance(error, TimedOut) else None
            fault = fault_of(error)
            former = last.facts.get(volume.key) if last and fault not in last.faults else None
            if isinstance(error, Busy) and isinstance(former, GlusterVolume) and not former.faults:
                online = {(brick.host, brick.path): brick.online for brick in former.bricks}
                joined.append(_join(volume, online))
                locked.append(fault)
            else:
                joined.append(replace(volume, faults=(fault,)))
    return joined, tuple(locked)


def parse_status(root: Element) -> Online:
    """(host, path) of each brick in `volume status VOL --xml` to whether it is online.

    It also lists daemons (`Self-heal Daemon`); their paths are no absolute ones.
    """
    return {
        (escape(text_of(node, "hostname")), escape(path)): text_of(node, "status") == "1"
        for node in root.iterfind("volStatus/volumes/volume/node")
        if (path := text_of(node, "path")).startswith("/")
    }


def _join(volume: GlusterVolume, online: Online) -> GlusterVolume:
    bricks = tuple(replace(brick, online=online.get((brick.host, brick.path))) for brick in volume.bricks)
    return replace(volume, bricks=bricks)


def _has_nothing_of_gluster(host: Host) -> bool:
    """Whether this host keeps no volume of a cluster and mounts none: then there are none, seen."""
    try:
        if b" - fuse.glusterfs " in host.read("/proc/self/mountinfo"):
            return False
        return not host.names(_VOLUMES)
    except Absent:
        return True
    except HostError:
        return False
