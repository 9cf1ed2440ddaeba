"""Libvirt guests for the demo: defined, never started, and undefined again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from demo.storage import GUESTS, program, run

START_TIMEOUT_S = 20.0
_DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='{format}'/><source file='{path}'/><target dev='vda' bus='virtio'/></disk>
</devices></domain>"""


def _answers() -> bool:
    done = subprocess.run(["virsh", "-q", "list"], capture_output=True, check=False, timeout=START_TIMEOUT_S)
    return done.returncode == 0


@contextlib.contextmanager
def libvirt_daemon(missing: list[str]) -> Iterator[bool]:
    """A libvirtd that answers: the machine's, else one started for the demo. Yields whether there is one."""
    if os.geteuid() != 0 or not program("libvirtd") or not program("virsh"):
        missing.append("no libvirt guests: that needs root and apt-get install libvirt-daemon-system")
        yield False
        return
    if _answers():
        yield True
        return
    # In a process group of its own: it must outlive a Ctrl-C, since the guests are undefined after that.
    daemon = subprocess.Popen(
        [program("libvirtd") or ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ready := _answers()) and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if not ready:
            missing.append("no libvirt guests: libvirtd does not answer")
        yield ready
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()  # it still probes what qemu can do
            daemon.wait()


@contextlib.contextmanager
def demo_guests(root: Path, missing: list[str]) -> Iterator[None]:
    """The demo's guests, each owning its image, while the context lasts."""
    with contextlib.ExitStack() as stack:
        if stack.enter_context(libvirt_daemon(missing)):
            for name, image, image_format in GUESTS:
                path = root / image
                if not path.exists():
                    continue
                definition = root.parent / f"{name}.xml"
                definition.write_text(_DOMAIN.format(name=f"demo-{name}", format=image_format, path=path))
                try:
                    run(["virsh", "-q", "define", str(definition)])
                except RuntimeError as error:
                    missing.append(f"no guest {name}: {error}")
                    continue
                stack.callback(run, ["virsh", "-q", "undefine", f"demo-{name}"])
        yield
