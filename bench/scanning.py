"""Scanning 20,000 images: against qemu-img, libvirt's directory pool, and the floor in C."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.floor import Floor, drop_caches
from bench.table import Figure, paired, seconds
from storekeeper.host.real import RealHost
from storekeeper.host.worker import GC_THRESHOLDS
from storekeeper.observation import Seen
from storekeeper.report import changes
from storekeeper.sources import images
from storekeeper.sources.contract import Scope
from tests.real.libvirt_daemon import LibvirtMachine

RUNS = 7
COLD_RUNS = 3
SAMPLE = 200
LIBVIRT_LIMIT = 16_000  # libvirt refuses to list more than 16,384 volumes
SCOPE_KEY = "bench/images"


def _scan(root: Path, last: Seen | None = None) -> Seen:
    return images.probe(RealHost(), Scope(key=SCOPE_KEY, root=str(root)), last)


def _full(root: Path) -> float:
    gc.collect()
    return seconds(lambda: _scan(root))


def scans(root: Path, floor: Floor) -> list[Figure]:
    """A full scan against the floor, warm and cold."""
    gc.set_threshold(*GC_THRESHOLDS)
    figures = []
    ours, peer, ratio = paired(lambda: _full(root), lambda: floor.seconds("scan", root), RUNS)
    figures.append(
        Figure("full scan, warm / open, fstat, read, close in C", _ms(ours), _ms(peer), ratio, "1.5")
    )

    def cold(work: Path) -> float:
        drop_caches()
        return _full(work)

    def cold_floor() -> float:
        drop_caches()
        return floor.seconds("scan", root)

    ours, peer, ratio = paired(lambda: cold(root), cold_floor, COLD_RUNS)
    figures.append(Figure("full scan, cold / the same in C", _ms(ours), _ms(peer), ratio, "1.5"))
    return figures


def rescans(root: Path, floor: Floor, files: Sequence[Path]) -> list[Figure]:
    """A rescan of nothing changed, and of 1 % changed, against readdir and fstatat in C.

    As a worker's are after its second: the first one opens all files, the next one sees all their rows.
    """
    last = _scan(root, _scan(root))

    def unchanged() -> float:
        return seconds(lambda: changes(last, _scan(root, last)))

    def one_in_a_hundred() -> float:
        for file in files[::100]:
            file.touch()
        return seconds(lambda: changes(last, _scan(root, last)))

    figures = []
    for what, work in (("nothing", unchanged), ("1 %", one_in_a_hundred)):
        ours, peer, ratio = paired(work, lambda: floor.seconds("walk", root), RUNS)
        aim = "2" if work is unchanged else ""
        figures.append(
            Figure(f"rescan, {what} changed / readdir, fstatat in C", _ms(ours), _ms(peer), ratio, aim)
        )
    return figures


def against_qemu_img(root: Path, files: Sequence[Path]) -> Figure:
    """A full scan an image against `qemu-img info` an image, over a sample of SAMPLE images."""
    sample = files[:: max(1, len(files) // SAMPLE)]

    def qemu_img() -> float:
        def look() -> None:
            for file in sample:
                subprocess.run(
                    ["qemu-img", "info", "--output=json", str(file)], check=False, capture_output=True
                )

        return seconds(look) / len(sample)

    ours, peer, ratio = paired(lambda: _full(root) / len(files), qemu_img, 3)
    return Figure("an image / qemu-img info of one", _us(ours), _us(peer), ratio, f"1/600 = {1 / 600:.4f}")


def against_libvirt(root: Path) -> Figure:
    """A full scan against `virsh pool-refresh` of the same tree, flattened: a pool is one directory."""
    flat = root.parent / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(root.rglob("*.*"))[:LIBVIRT_LIMIT]):
        (flat / f"{number}-{file.name}").hardlink_to(file)
    with LibvirtMachine("bench") as machine:
        machine.virsh(f"pool-create-as flat dir --target {flat}")
        ours, peer, ratio = paired(
            lambda: _full(flat), lambda: seconds(lambda: machine.virsh("pool-refresh flat")), 3
        )
    return Figure(f"{LIBVIRT_LIMIT} images / virsh pool-refresh", _ms(ours), _ms(peer), ratio, "")


def _ms(value_s: float) -> str:
    return f"{value_s * 1e3:.0f} ms"


def _us(value_s: float) -> str:
    return f"{value_s * 1e6:.1f} us"
