"""Every header field equals what qemu-img info says, for images of every format and option it can make.

`RECIPES` is the data: how each image is made, as qemu-img's own command lines. A format joins by its lines.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from storekeeper.formats import FORMATS, identify, raw
from storekeeper.observation import Header, Parent
from tests.formats.disk_file import opened

pytestmark = pytest.mark.needs("qemu-img")

SIZES = ("0", "512", "1M", "1G", "5000000", "8T")
SECRET = "--object secret,id=s,data=x"

NAMES = (
    "base.raw", "../up/base.raw", "/etc/shadow", "nbd://host/export", "b" * 1023, "imag\u00e9.raw", "a\nb%c",
    'json:{"driver":"file","filename":"base"}',
)  # fmt: skip

Recipe = tuple[str, ...]


def created(of: str, sizes: tuple[str, ...], *options: tuple[str, ...], also: str = "") -> Iterator[Recipe]:
    """One image for each combination of a size and one alternative of each option."""
    for size, *chosen in product(sizes, *options):
        yield (f"create -q -f {of} {also} {'-o ' + ','.join(chosen) if chosen else ''} {{f}} {size}",)


def qcow2() -> Iterator[Recipe]:
    compat = ("compat=0.10", "compat=1.1")
    yield from created("qcow2", SIZES, compat, ("cluster_size=64k", "cluster_size=2M"))
    yield from created("qcow2", ("512", "1G"), compat, ("cluster_size=512", "cluster_size=4k"))
    yield from created(
        "qcow2", ("512", "1G"), ("refcount_bits=1", "refcount_bits=8", "refcount_bits=64"),
        ("lazy_refcounts=off", "lazy_refcounts=on"),
    )  # fmt: skip
    yield from created(
        "qcow2", ("0", "1G"), ("extended_l2=off", "extended_l2=on"),
        ("compression_type=zlib", "compression_type=zstd"), ("cluster_size=64k", "cluster_size=2M"),
    )  # fmt: skip
    yield from created(
        "qcow2", ("0", "5M"), tuple(f"preallocation={how}" for how in ("off", "metadata", "full"))
    )
    yield from created(
        "qcow2", ("512", "1G"), ("data_file={f}.data",), ("data_file_raw=off", "data_file_raw=on")
    )
    yield from created("qcow2", ("512", "1M"), ("encrypt.format=aes,encrypt.key-secret=s",), also=SECRET)
    yield from created(
        "qcow2", ("1M",), ("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100",), also=SECRET
    )
    yield from created("qcow2", SIZES, compat, also="-u -b base.qcow2 -F qcow2")
    for name in NAMES:
        backing = f"-u -b {shlex.quote(name)} -F"
        yield (f"create -q -f qcow2 {backing} raw {{f}} 1M",)
        yield (f"create -q -f qcow2 -o cluster_size=4k {backing} vmdk {{f}} 1M",)
        yield (f"create -q -f qcow2 -o compat=0.10 {backing} raw {{f}} 1M",)
    empty = "create -q -f qcow2 {f} 10M"
    yield (empty, "snapshot -q -c one {f}")
    yield (empty, *(f"snapshot -q -c s{number} {{f}}" for number in range(12)))
    yield (empty, "snapshot -q -c one {f}", "snapshot -q -d one {f}")
    yield (empty, "bitmap --add {f} changes")
    yield (empty, "bitmap --add {f} changes", "bitmap --add --disable -g 1M {f} more")
    yield (empty, "rebase -q -u -b other.raw -F raw {f}")
    yield (empty, "rebase -q -u -b other.raw -F raw {f}", "rebase -q -u -b '' {f}")
    yield (
        "create -q -f qcow2 -u -b base.raw -F raw {f} 1M",
        "rebase -q -u -b longer/name.qcow2 -F qcow2 {f}",
    )
    yield (empty, "amend -q -f qcow2 -o compat=0.10 {f}")
    yield (
        "create -q -f qcow2 -o compat=0.10 {f} 1M",
        "amend -q -f qcow2 -o compat=1.1,lazy_refcounts=on {f}",
    )
    yield (empty, "resize -q {f} 3G")
    yield (empty, "resize -q --shrink {f} 512")
    for options in ("compat=0.10", "compression_type=zlib", "compression_type=zstd,extended_l2=on"):
        yield ("create -q -f raw {f}.raw 3M", f"convert -c -f raw -O qcow2 -o {options} {{f}}.raw {{f}}")


def qcow() -> Iterator[Recipe]:
    yield from created("qcow", ("512", "1M", "1G", "5000000", "8T"))
    yield from created("qcow", ("512", "1G"), also="-u -b base.qcow2 -F qcow2")
    yield from created("qcow", ("512", "1G"), ("encrypt.format=aes,encrypt.key-secret=s",), also=SECRET)
    yield ("create -q -f raw {f}.raw 3M", "convert -f raw -O qcow {f}.raw {f}")


def qed() -> Iterator[Recipe]:
    clusters = ("cluster_size=4k", "cluster_size=64k", "cluster_size=1M")
    yield from created("qed", ("0", "512", "1M", "1G"), clusters, ("table_size=2", "table_size=16"))
    yield from created("qed", SIZES)
    yield from created("qed", ("1M", "8T"), also="-u -b base.qcow2 -F qcow2")
    yield from created("qed", ("1M", "8T"), also="-u -b base.raw -F raw")


def parallels() -> Iterator[Recipe]:
    yield from created("parallels", SIZES, ("cluster_size=64k", "cluster_size=1M", "cluster_size=4M"))
    yield ("create -q -f raw {f}.raw 3M", "convert -f raw -O parallels {f}.raw {f}")


def luks() -> Iterator[Recipe]:
    key = ("key-secret=s,iter-time=100",)
    yield from created("luks", ("512", "5000000"), key, ("cipher-alg=aes-256",), also=SECRET)
    yield from created(
        "luks", ("8T",), key, ("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64",), also=SECRET
    )


def vmdk() -> Iterator[Recipe]:
    sparse = ("monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized")
    flat = ("monolithicFlat", "twoGbMaxExtentFlat")
    yield from created(
        "vmdk", ("512", "1M", "5000000", "5G"), tuple(f"subformat={way}" for way in sparse + flat)
    )
    yield from created("vmdk", ("8T",), ("subformat=monolithicSparse", "subformat=monolithicFlat"))
    yield from created(
        "vmdk", ("1M",), tuple(f"adapter_type={name}" for name in ("ide", "lsilogic", "legacyESX"))
    )
    yield from created("vmdk", ("1M",), ("compat6=on",), ("zeroed_grain=off", "zeroed_grain=on"))
    yield from created("vmdk", ("1M",), ("hwversion=20", "hwversion=9"), ("toolsversion=2147483647",))
    for options in ("subformat=monolithicSparse", "subformat=twoGbMaxExtentSparse", "zeroed_grain=on"):
        base = "create -q -f vmdk base-{n}.vmdk 3G"
        yield (base, f"create -q -f vmdk -b base-{{n}}.vmdk -F vmdk -o {options} {{f}}")
    yield ("create -q -f raw {f}.raw 3M", "convert -f raw -O vmdk -o subformat=streamOptimized {f}.raw {f}")


def vdi() -> Iterator[Recipe]:
    yield from created("vdi", SIZES)
    yield from created("vdi", ("0", "512", "5000000"), ("static=on", "static=off"))


def vpc() -> Iterator[Recipe]:
    exact = ("force_size=off", "force_size=on")
    yield from created("vpc", ("512", "1M", "1G", "5000000", "2000G"), exact)
    yield from created("vpc", ("1M", "5000000"), exact, ("subformat=fixed", "subformat=dynamic"))


def vhdx() -> Iterator[Recipe]:
    yield from created("vhdx", ("1M", "1G", "5000000", "8T"))
    yield from created(
        "vhdx", ("1M", "3G"), ("block_size=1M", "block_size=256M"), ("log_size=1M", "log_size=4M")
    )
    yield from created(
        "vhdx",
        ("1M",),
        ("subformat=fixed", "subformat=dynamic"),
        ("block_state_zero=on", "block_state_zero=off"),
    )


def raw_images() -> Iterator[Recipe]:
    yield from created("raw", SIZES)
    yield ("create -q -f raw {f} 1M", "resize -q -f raw --shrink {f} 1000000")


RECIPES: dict[str, list[Recipe]] = {
    "qcow2": list(qcow2()),
    "qcow": list(qcow()),
    "qed": list(qed()),
    "parallels": list(parallels()),
    "luks": list(luks()),
    "vmdk": list(vmdk()),
    "vdi": list(vdi()),
    "vhd": list(vpc()),
    "vhdx": list(vhdx()),
    "raw": list(raw_images()),
}
QEMU_NAMES = {"vhd": "vpc"}
# qemu-img says "vmdk" for every parent of a VMDK, though nothing in the file does.
DECLARE_PARENT_FORMATS = {"qcow2", "qed"}


def qemu_img(arguments: str, directory: Path) -> str:
    """What qemu-img prints. The directory is the working directory, so that names in headers stay short."""
    argv = ["qemu-img", *shlex.split(arguments)]
    for _ in range(20):
        done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
        # It times its key derivation by the CPU time it used, and gives up where the kernel counts none.
        if "Unable to get accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def seen(file: Path) -> Header:
    with opened(file) as image:
        return identify(image) or raw.inspect(image)


def facts_of_header(header: Header) -> dict[str, object]:
    parent = header.parent or Parent()
    return {
        "format": header.format,
        "virtual-size": header.virtual_bytes,
        "backing-filename": parent.names[0] if parent.names else "",
        "backing-filename-format": parent.format if header.format in DECLARE_PARENT_FORMATS else "",
        "encrypted": bool(header.encryption),
        "encryption": header.encryption if header.format == "qcow2" else "",
        "data-file": header.data_file,
        "data-file-raw": header.data_file_raw,
        "snapshots": header.internal_snapshots,
        "extents": [(extent.name, extent.size_bytes) for extent in header.extents],
        "version": header.version if header.format == "qcow2" else "",
        "features": sorted(header.features) if header.format == "qcow2" else [],
        "faults": header.faults,
    }


def facts_of_info(info: dict[str, Any], file: Path) -> dict[str, object]:
    of = next((name for name, theirs in QEMU_NAMES.items() if theirs == info["format"]), info["format"])
    data = info.get("format-specific", {}).get("data", {})
    words = {
        "data-file": "data-file" in data,
        "data-file-raw": data.get("data-file-raw", False),
        "zstd": data.get("compression-type") == "zstd",
        "extended-l2": data.get("extended-l2", False),
        "lazy-refcounts": data.get("lazy-refcounts", False),
        "corrupt": data.get("corrupt", False),
        "bitmaps": bool(data.get("bitmaps")),
        "dirty": info.get("dirty-flag", False),
    }
    return {
        "format": of,
        "virtual-size": info["virtual-size"],
        "backing-filename": info.get("backing-filename", "").replace("%", "%25").replace("\n", "%0A"),
        "backing-filename-format": info.get("backing-filename-format", "")
        if of in DECLARE_PARENT_FORMATS
        else "",
        "encrypted": info.get("encrypted", False),
        "encryption": data.get("encrypt", {}).get("format", "") if of == "qcow2" else "",
        "data-file": data.get("data-file", ""),
        "data-file-raw": data.get("data-file-raw", False),
        "snapshots": len(info.get("snapshots", [])),
        "extents": [
            (extent["filename"], extent["virtual-size"])
            for extent in data.get("extents", [])
            if extent["filename"] != file.name
        ],
        "version": {"0.10": "2", "1.1": "3"}.get(data.get("compat", ""), ""),
        "features": sorted(word for word, there in words.items() if there) if of == "qcow2" else [],
        "faults": (),
    }


def differences(of: str, number: int, directory: Path) -> list[str]:
    """Makes one image and compares: one line for each field that differs."""
    recipe = RECIPES[of][number]
    file = directory / f"{number}.{of}"
    for line in recipe:
        qemu_img(line.replace("{f}", file.name).replace("{n}", str(number)), directory)
    # qemu-img guesses a fixed VHD, which has no header, to be raw.
    probing = f"-f {QEMU_NAMES[of]}" if of in QEMU_NAMES else "-f raw" if of == "raw" else ""
    theirs = facts_of_info(json.loads(qemu_img(f"info --output=json {probing} {file.name}", directory)), file)
    header = seen(file)
    ours = facts_of_header(header)
    return [
        f"{recipe}: {field}: seen {ours[field]!r}, qemu-img {theirs[field]!r}"
        for field in ours
        if ours[field] != theirs[field]
    ]


@pytest.mark.parametrize("of", [*(row.name for row in FORMATS), "raw"])
def test_every_field_of_every_image_equals_what_qemu_img_says(of: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda number: differences(of, number, tmp_path), range(len(RECIPES[of])))
        assert [line for lines in found for line in lines] == []


def test_over_two_hundred_images_are_compared() -> None:
    assert sum(map(len, RECIPES.values())) > 200
    assert {row.name for row in FORMATS} <= RECIPES.keys()
