"""`make bench`: every figure in one run. `--images N` for another size, `--only WORD` for some of it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import following, running, scanning
from bench.floor import Floor
from bench.table import Figure, show
from bench.tree import make

SMALL = 22
PORT, NGINX_PORT = 8117, 8118


def _scanning(root: Path, build: Path) -> Iterator[Figure]:
    floor = Floor(build)
    files = [path for path in root.rglob("*") if path.is_file()]
    yield from scanning.scans(root, floor)
    yield from scanning.rescans(root, floor, files)
    yield scanning.against_qemu_img(root, files)
    yield scanning.against_libvirt(root)


def _running(root: Path, build: Path) -> Iterator[Figure]:
    with running.serving(root, build, PORT) as server:
        yield from running.memory(server)
        yield running.idle(server)
        yield running.change_to_document(root, server)


def _following(root: Path, build: Path) -> Iterator[Figure]:
    with running.serving(root, build, PORT) as server:
        yield following.beside_followers(root, server)


def _serving(root: Path, build: Path) -> Iterator[Figure]:
    small = build / "small"
    make(small, SMALL)
    for name, place in ((f"{SMALL} images", small), ("all images", root)):
        with running.serving(place, build, PORT) as server:
            yield from running.against_nginx(name, server, build, NGINX_PORT)


PARTS: dict[str, Callable[[Path, Path], Iterator[Figure]]] = {
    "scanning": _scanning,
    "running": _running,
    "following": _following,
    "serving": _serving,
}


def main() -> None:
    """Makes the storage, measures, prints a table."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    build = Path("build/bench").resolve()
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    root = build / "images"
    make(root, options.images)
    print(f"{options.images} images; {running.machine()}")
    parts = [part for name, part in PARTS.items() if options.only in {None, name}]
    show(figure for part in parts for figure in part(root, build))
    shutil.rmtree(build)


if __name__ == "__main__":
    main()
