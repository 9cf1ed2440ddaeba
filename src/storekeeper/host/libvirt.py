"""Guests, as the system's libvirt knows them, over a read-only connection.

libvirt-python is imported when it is needed: it is an extra, and 10 MiB in each process that has it.
No call here concerns a storage pool: those block when a mount hangs.
"""

from __future__ import annotations

import functools
import shutil
from typing import Any

from storekeeper import errors
from storekeeper.sources.contract import Domain

URI = "qemu:///system"
_DAEMONS = ("libvirtd", "virtqemud")
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def domains(uri: str = URI) -> list[Domain]:
    """See `Host.domains`. A domain that vanishes meanwhile is left out; another failure is its `fault`.

    Raises:
        ToolMissing: no libvirt-python, or no daemon.
        Unreadable: the daemon does not answer, or refuses.
    """
    libvirt = library()
    connection = connect(uri)
    try:
        found = connection.listAllDomains()
        told = [_domain(libvirt, domain) for domain in found]
    except libvirt.libvirtError as error:
        raise errors.Unreadable(uri, f"libvirt answered: {error}") from error
    finally:
        connection.close()
    return sorted((domain for domain in told if domain), key=lambda domain: domain.name)


@functools.cache
def library() -> Any:
    """The module libvirt-python (untyped), told not to print.

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        import libvirt
    except ImportError as error:
        text = "libvirt-python is not installed: pip install 'storekeeper[libvirt]' (builds with libvirt-dev)"
        raise errors.ToolMissing("libvirt", text) from error
    libvirt.registerErrorHandler(lambda *_: None, None)
    return libvirt


def connect(uri: str = URI) -> Any:
    """A read-only connection (a `libvirt.virConnect`).

    Raises:
        ToolMissing: no libvirt-python, or no daemon is installed.
        Unreadable: the daemon does not answer, or refuses.
    """
    libvirt = library()
    try:
        return libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        if not any(shutil.which(daemon, path=_SYSTEM_PATH) for daemon in _DAEMONS):
            text = "libvirt is not installed: apt-get install libvirt-daemon-system"
            raise errors.ToolMissing("libvirt", text) from error
        text = f"libvirt does not answer: {error}; is it running? systemctl start libvirtd"
        raise errors.Unreadable(uri, text) from error


def _domain(libvirt: Any, domain: Any) -> Domain | None:
    name = domain.name()
    unique_id = domain.UUIDString()
    try:
        state = domain.state()[0]
        persistent = bool(domain.isPersistent())
        return Domain(
            name=name,
            unique_id=unique_id,
            state=state,
            persistent=persistent,
            live_xml=domain.XMLDesc(0) if domain.isActive() else "",
            persistent_xml=domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if persistent else "",
            snapshot_xmls=tuple(snapshot.getXMLDesc() for snapshot in domain.listAllSnapshots()),
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        return Domain(
            name=name, unique_id=unique_id, state=libvirt.VIR_DOMAIN_NOSTATE, persistent=False, live_xml="",
            persistent_xml="", fault=str(error),
        )  # fmt: skip
