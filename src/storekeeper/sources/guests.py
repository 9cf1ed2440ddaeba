"""Guests of the system's libvirt and the images they use, and the directories of libvirt's pools.

Guests come over a read-only connection (`Host.domains`). Pools come from libvirt's own files: every call
about a pool would wait for a mount that hangs.
"""

from __future__ import annotations

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape
from storekeeper.observation import Fault, Guest, GuestDisk, GuestState, Pool, Seen
from storekeeper.sources.contract import Domain, Host, Scope, facts_by_key, fault_of
from storekeeper.sources.domain_xml import parse_domain, parse_pool, parse_snapshot

# virDomainState of libvirt-domain.h. A guest that is shutting down still has its images open.
_STATES: dict[int, GuestState] = {
    1: "running", 2: "running", 3: "paused", 4: "running", 5: "stopped", 6: "stopped", 7: "suspended",
}  # fmt: skip
_DEFINITIONS = ("/etc/libvirt/qemu", "/run/libvirt/qemu")
# Defined pools first: the state of an active one is newer.
_POOLS = ("/etc/libvirt/storage", "/run/libvirt/storage")


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """Every guest and pool of this host. A guest of which libvirt could not tell all is as last seen."""
    pools, faults = _pools(host, last)
    guests, more = _guests(host)
    return Seen(
        source="guests", scope=scope.key, facts=facts_by_key([*guests, *pools]), faults=(*faults, *more)
    )


def _guests(host: Host) -> tuple[list[Guest], list[Fault]]:
    try:
        domains = host.domains()
    except HostError as error:
        if _defines_no_guest(host):
            return [], []
        return [], [fault_of(error, "*")]
    guests, faults = [], []
    for domain in domains:
        key = escape(domain.name)
        if domain.fault:
            faults.append(Fault(code="io-error", text=f"guest {key}: {escape(domain.fault)}", hides=key))
            continue
        try:
            guests.append(parse_guest(domain))
        except HostError as error:
            faults.append(fault_of(error, key))
    return guests, faults


def parse_guest(domain: Domain) -> Guest:
    """A domain's disks, from all of its definitions. A snapshot's disks are told only where no other
    definition names their image.

    Raises:
        ToolFailed: one of the definitions cannot be read.
    """
    name = escape(domain.name)
    disks: list[GuestDisk] = []
    if domain.persistent_xml:
        disks += parse_domain(domain.persistent_xml, "persistent", f"definition of guest {name}")
    if domain.live_xml:
        disks += parse_domain(domain.live_xml, "live", f"live definition of guest {name}")
    known = {_place(disk) for disk in disks}
    for text in domain.snapshot_xmls:
        for disk in parse_snapshot(text, f"snapshot of guest {name}"):
            if _place(disk) not in known:
                known.add(_place(disk))
                disks.append(disk)
    return Guest(
        key=name,
        unique_id=escape(domain.unique_id),
        state=_STATES.get(domain.state, "unknown"),
        persistent=domain.persistent,
        disks=tuple(disks),
    )


def _place(disk: GuestDisk) -> tuple[str, ...]:
    return (disk.kind, disk.path, disk.pool, disk.volume, disk.protocol, disk.name)


def _defines_no_guest(host: Host) -> bool:
    """Whether libvirt keeps no definition here, of a guest at rest or a running one: then there is none,
    whether or not libvirt answers.
    """
    for directory in _DEFINITIONS:
        try:
            if any(name.endswith(".xml") for name in host.names(directory)):
                return False
        except Absent:
            continue
        except HostError:
            return False
    return True


def _pools(host: Host, last: Seen | None) -> tuple[list[Pool], list[Fault]]:
    """Defined and active pools. Those of a directory that cannot be listed stay as last seen."""
    pools: dict[str, Pool] = {}
    faults: list[Fault] = []
    for directory in _POOLS:
        try:
            names = host.names(directory)
        except Absent:
            continue
        except HostError as error:
            faults.append(fault_of(error))
            pools |= {key: fact for key, fact in last.facts.items() if isinstance(fact, Pool)} if last else {}
            continue
        for name in names:
            if not name.endswith(".xml"):
                continue
            try:
                pool = parse_pool(host.read(f"{directory}/{name}"), f"{directory}/{escape(name)}")
            except Absent:
                continue  # it was undefined or stopped meanwhile
            except HostError as error:
                faults.append(fault_of(error, f"pool:{escape(name.removesuffix('.xml'))}"))
                continue
            pools[pool.key] = pool
    return list(pools.values()), faults
