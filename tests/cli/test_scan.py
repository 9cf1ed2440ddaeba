"""Looking at a host without a manager: real files of qemu-img, and the same from a capture of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storekeeper.cli import run
from storekeeper.declaration_toml import check
from storekeeper.document import ImageStorageInfo

pytestmark = pytest.mark.needs("qemu-img")


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A declaration of two storages; `internal` has an image and its clone on a plain directory."""
    root = tmp_path / "home"
    (root / "team").mkdir(parents=True)
    for arguments in (
        ["-f", "qcow2", str(root / "corus"), "20G"],
        ["-f", "qcow2", "-b", "../corus", "-F", "qcow2", str(root / "team/corus_demo")],
    ):
        subprocess.run(["qemu-img", "create", "-q", *arguments], check=True)
    (tmp_path / "empty").mkdir()
    file = tmp_path / "storekeeper.toml"
    file.write_text(
        f"""
        [host]
        id = "flexdev01"
        [image_storages.internal]
        hosts = ["flexdev01"]
        [image_storages.internal.external_volumes.home]
        mount_point = "{root}"
        [image_storages.lab]
        hosts = ["flexdev01"]
        [image_storages.lab.external_volumes.empty]
        mount_point = "{tmp_path}/empty"
        """
    )
    return file


def scanned(capsys: pytest.CaptureFixture[str], *arguments: str) -> ImageStorageInfo:
    assert run(["scan", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return msgspec.json.decode(printed.out, type=ImageStorageInfo)


def test_scan_prints_the_document_of_this_host(declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = scanned(capsys, "internal", "--config", str(declared))
    (volume,) = document.external_volumes
    assert (volume.status, volume.status_msg) == ("ok", "")
    assert [(row.image_id, row.size_mb) for row in volume.images] == [("corus", 20480)]
    assert [(row.clone_id, row.image_id) for row in volume.clones] == [("team/corus_demo", "corus")]


def test_scan_wants_to_know_which_of_several(declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", "--config", str(declared)]) == 2
    assert "Which image storage? There is: internal, lab." in capsys.readouterr().err
    assert run(["scan", "intrnal", "--config", str(declared)]) == 4
    assert "Did you mean 'internal'?" in capsys.readouterr().err


def test_a_volume_that_is_not_ok_is_no_error_of_scan(
    declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (declared.parent / "empty").rmdir()
    (volume,) = scanned(capsys, "lab", "--config", str(declared)).external_volumes
    assert volume.status != "ok"
    assert volume.status_msg


def test_a_captured_machine_gives_the_same_document(
    declared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = scanned(capsys, "internal", "--config", str(declared))
    folder = str(tmp_path / "captured")
    assert run(["capture", folder, "--config", str(declared)]) == 0
    capsys.readouterr()
    there = scanned(capsys, "internal", "--captured", folder)
    assert shape(there) == shape(here)


def shape(document: ImageStorageInfo) -> Any:
    """What of a document does not depend on names, of which a capture has stand-ins."""
    return [
        (volume.status, volume.total_space, [row.size_mb for row in volume.images], len(volume.clones))
        for volume in document.external_volumes
    ]


def test_a_folder_that_holds_something_is_not_captured_into(
    tmp_path: Path, declared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["capture", str(tmp_path), "--config", str(declared)]) == 5
    assert "not empty" in capsys.readouterr().err


def test_probe_prints_what_one_source_sees(declared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "images", str(declared.parent / "home")]) == 0
    seen = msgspec.json.decode(capsys.readouterr().out)
    assert sorted(fact["key"] for fact in seen["facts"]) == ["corus", "team/corus_demo"]
    assert run(["probe", "images", str(declared.parent / "home"), "--format", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_source_that_could_not_look_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", "images", str(tmp_path / "none")]) == 3
    seen = msgspec.json.decode(capsys.readouterr().out)
    assert [fault["code"] for fault in seen["faults"]] == ["absent"]


def test_discover_prints_a_declaration_that_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["discover"]) == 0
    text = capsys.readouterr().out
    assert check(text) == []
    assert "[image_storages.local]" in text
