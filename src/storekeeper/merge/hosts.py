"""Hosts: how each one is, from what it reported, what is declared and the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from storekeeper.declaration import Declaration
from storekeeper.document import HostInfo, HostState
from storekeeper.merge.freshness import Horizon, rfc3339, when
from storekeeper.merge.truth import HostView
from storekeeper.observation import Machine

_MB = 1 << 20


class HostReport(Struct, frozen=True, kw_only=True):
    """What is known of a host beside its looks; `""` and 0 are unknown.

    `reported_at`: when a report of it was last applied (the manager's clock, epoch seconds).
    `incompatible`: its agent speaks another protocol. `error_msg`: a sentence about its reports.
    `address`: where its last request came from.
    """

    host_id: str
    version: str = ""
    machine_id: str = ""
    boot_id: str = ""
    reported_at: float = 0.0
    error_msg: str = ""
    incompatible: bool = False
    address: str = ""


class Known(Struct, frozen=True, kw_only=True):
    """All that hosts follow from. `started_at`: since when the manager listens; `now` by the same clock."""

    declaration: Declaration
    views: Mapping[str, HostView]
    reports: Mapping[str, HostReport]
    started_at: float
    now: float


def hosts_of(declaration: Declaration) -> dict[str, list[str]]:
    """Every host that is declared or linked, sorted, with the image storages that it is linked to."""
    found: dict[str, list[str]] = {host_id: [] for host_id in declaration.hosts}
    for storage_id, storage in declaration.image_storages.items():
        for host_id in storage.hosts:
            found.setdefault(host_id, []).append(storage_id)
    return {host_id: found[host_id] for host_id in sorted(found)}


def host_state(host_id: str, known: Known) -> tuple[HostState, str]:
    """How the host is, and what is to be said of that (`""`: nothing)."""
    report = known.reports.get(host_id) or HostReport(host_id=host_id)
    view = known.views.get(host_id) or HostView(host_id=host_id)
    if report.incompatible:
        return "incompatible", report.error_msg
    horizon = Horizon(known.now, known.declaration.host_timeout_s)
    heard_now = view.reported_at >= known.started_at
    if view.reported_at and heard_now and horizon.reported(view):
        return "running", report.error_msg
    if not view.reported_at:
        return "unknown", _sentences(f"No report from {host_id} yet.", report.error_msg)
    text = _sentences(f"No report from {host_id} since {when(view.reported_at)}.", report.error_msg)
    # A manager that has just started has not listened long enough to say that anybody is silent.
    listened = known.now - known.started_at >= known.declaration.host_timeout_s
    return ("unavailable" if heard_now or listened else "unknown"), text


def host_info(host_id: str, known: Known, image_storages: Sequence[str]) -> HostInfo:
    """All that is known of one host. `image_storages`: those that it is linked to, as of `hosts_of`."""
    state, text = host_state(host_id, known)
    report = known.reports.get(host_id) or HostReport(host_id=host_id)
    view = known.views.get(host_id) or HostView(host_id=host_id)
    declared = known.declaration.hosts.get(host_id)
    machine = _machine(view)
    return HostInfo(
        host_id=host_id,
        hypervisor=machine.hypervisor if machine is not None else "",
        cpu_type=machine.cpu_type if machine is not None else "",
        description=declared.description if declared is not None else "",
        physical_cores=_number(machine.physical_cores) if machine is not None else "",
        physical_ram=_number(machine.physical_ram_bytes // _MB) if machine is not None else "",
        host_address=report.address,
        desired_state="running",
        current_state=state,
        error_msg=text,
        image_storages=list(image_storages),
        agent_version=report.version,
        last_report=rfc3339(view.reported_at),
    )


def _machine(view: HostView) -> Machine | None:
    """What the host told of itself, if it did."""
    look = view.looks.get(("machine", ""))
    facts = look.seen.facts.values() if look is not None else ()
    return next((fact for fact in facts if isinstance(fact, Machine)), None)


def _number(count: int) -> str:
    return str(count) if count > 0 else ""


def _sentences(*texts: str) -> str:
    return " ".join(text for text in texts if text)
