"""What each command prints: readable as its specification, and within 80 columns."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from storekeeper.cli import run
from storekeeper.document import ImageDetail, ImageStorageInfo
from storekeeper.errors import EXIT_FINE
from tests.api.standin import StandIn, image, served, storage

STORAGES = """\
STORAGE   STATUS      HOSTS  VOLS  IMAGES  CLONES    SIZE    FREE  USE%
internal  ! degraded      1     1       3       1   836Gi   491Gi   42%
lab       ? unknown       1     1      ~0      ~0  ~836Gi  ~491Gi  ~42%
internal: home_flexvdi is not mounted on flexdev02 since 2026-01-02 08:12 UTC.
lab: No report from h1.
"""
SHOW = """\
internal  ! degraded, 1 host, 0 free disks
VOLUME        KIND      STATUS      IMAGES  CLONES   SIZE   FREE  USED
home_flexvdi  external  ! degraded       3       1  836Gi  491Gi  ####...... 42%
home_flexvdi is not mounted on flexdev02 since 2026-01-02 08:12 UTC.
"""
IMAGES = """\
IMAGE                 VOLUME        FORMAT  VIRTUAL  ALLOCATED  GUESTS  PARENT
corus                 home_flexvdi  qcow2      20Gi       11Gi  corus   -
corus_demo_corus      home_flexvdi  qcow2      20Gi        1Gi  corus   corus
team/a/50%25 off.raw  home_flexvdi  raw         3Gi        2Gi  -       -
test                  home_flexvdi  qcow2       1Gi        1Gi  -       -
1 of 4 with faults: storekeeper images --columns image,faults
"""
IMAGE = """\
corus_demo_corus  clone, qcow2 v3, on home_flexvdi (internal)
guests        corus
size          20 GiB virtual, 1 GiB allocated (5%)
parent        corus (home_flexvdi), named in its header
modified      2026-01-02
seen          2026-01-02
family
  corus                                 qcow2        11Gi  corus
  └─ corus_demo_corus                   qcow2         1Gi  corus
"""
DISKS = """\
DISK               HOST       DEVICE    PRODUCT   SIZE  USABLE  VOLUME       REASONS
-                  flexdev01  /dev/sda  System    64Gi  no      -            has a partition table; holds /
3500253887013e77e  flexdev01  /dev/sdb  Samsung  256Gi  yes     samsung_ssd  -
"""


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("storages", STORAGES),
        ("show internal", SHOW),
        ("images internal", IMAGES),
        ("image corus_demo_corus", IMAGE),
        ("disks internal", DISKS),
    ],
)
def test_a_person_sees(
    arguments: str,
    printed: str,
    manager: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storekeeper.cli.image.time", lambda: 1.8e9)
    assert run([*arguments.split(), "--manager", manager]) == EXIT_FINE
    assert capsys.readouterr().out == printed


def out(capsys: pytest.CaptureFixture[str], manager: str, *arguments: str) -> str:
    assert run([*arguments, "--manager", manager]) == EXIT_FINE
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_show_as_json_is_the_document_itself(manager: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = msgspec.json.decode(out(capsys, manager, "show", "internal", "--json"), type=ImageStorageInfo)
    assert document.external_volumes[0].total_space == 876659228


@pytest.mark.parametrize("command", ["images internal", "disks internal", "storages", "show internal"])
def test_json_lines_are_one_object_a_line(
    command: str, manager: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = out(capsys, manager, *command.split(), "--format", "jsonl").splitlines()
    assert all(isinstance(msgspec.json.decode(line), dict) for line in lines)


def test_programs_get_every_field_with_its_unit_in_its_name(
    manager: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = msgspec.json.decode(out(capsys, manager, "images", "internal", "--json"), type=list[ImageDetail])
    assert rows[0].allocated_bytes == 11 << 30
    table = list(csv.DictReader(io.StringIO(out(capsys, manager, "images", "internal", "--format", "csv"))))
    assert table[0]["allocated_bytes"] == str(11 << 30)
    assert table[3]["faults"] == "truncated"


def test_columns_are_chosen_by_their_header_or_their_field(
    manager: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = out(capsys, manager, "images", "internal", "--columns", "allocated,image_id,faults", "-H", "-b")
    assert chosen.splitlines()[0] == "11811160064  corus                 -"
    rows = msgspec.json.decode(out(capsys, manager, "images", "internal", "--columns", "image", "--json"))
    assert rows[0] == {"image_id": "corus"}


def test_help_of_columns_lists_all(manager: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = out(capsys, manager, "images", "--columns", "help").splitlines()
    assert [line.split()[-1] for line in listed[:2]] == ["image_id", "volume_id"]
    assert {line.split()[-1] for line in listed} == set(ImageDetail.__struct_fields__)


def test_sort_orders_by_value_not_by_what_is_shown(manager: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("images", "internal", "-H", "--columns", "allocated", "--sort")
    assert out(capsys, manager, *arguments, "allocated").split() == ["1Gi", "1Gi", "2Gi", "11Gi"]
    assert out(capsys, manager, *arguments, "-allocated").split() == ["11Gi", "2Gi", "1Gi", "1Gi"]


def test_where_picks_images(manager: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("images", "internal", "-H", "--columns", "image", "--where")
    assert out(capsys, manager, *arguments, "guests=").splitlines() == ["team/a/50%25 off.raw", "test"]
    assert out(capsys, manager, *arguments, "format=raw", "--where", "kind=clone") == ""


def test_the_only_storage_needs_no_name(small_manager: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "corus_demo_corus" in out(capsys, small_manager, "images")
    assert out(capsys, small_manager, "show").startswith("internal  ok, 1 host, 0 free disks\n")


def test_a_family_shows_its_line_and_what_was_cloned_and_counts_what_is_too_much(
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = "home_flexvdi"
    images = {"root": image("root"), "base": image("base", parent=(home, "root"))}
    images |= {f"clone{n:02}": image(f"clone{n:02}", parent=(home, "base")) for n in range(25)}
    images["leaf"] = image("leaf", parent=(home, "clone00"))
    with served(StandIn({"internal": storage(images)})) as url:
        lines = out(capsys, url, "image", "base").split("family\n")[1].splitlines()
    names = [line.split("  qcow2")[0].rstrip() for line in lines]
    assert names[:5] == ["  root", "  └─ base", "     ├─ clone00", "     │  └─ leaf", "     ├─ clone01"]
    assert names[-1] == "     └─ and 5 more clones"


def test_a_loop_of_parents_ends(capsys: pytest.CaptureFixture[str]) -> None:
    home = "home_flexvdi"
    images = {"a": image("a", parent=(home, "b")), "b": image("b", parent=(home, "a"))}
    with served(StandIn({"internal": storage(images)})) as url:
        assert len(out(capsys, url, "image", "a").splitlines()) < 60


def test_images_of_one_name_are_told_apart_by_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    storages = {name: storage({"x": image("x")}, name) for name in ("one", "two")}
    with served(StandIn(storages)) as url:
        assert run(["image", "x", "--manager", url]) == 2
        assert "Add one of: --storage one --volume home_flexvdi, --storage two" in capsys.readouterr().err
        assert "(two)" in out(capsys, url, "image", "x", "--storage", "two")


def test_what_a_guest_was_named_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "g\x1b]0;owned\x07\u202etxt\n"
    with served(StandIn({"internal": storage({"x": image("x", guests=(evil,))}, status_msg=evil)})) as url:
        for command in (("images",), ("image", "x"), ("show",), ("storages",)):
            printed = out(capsys, url, *command)
            assert "\x1b" not in printed
            assert "\x07" not in printed
            assert "\u202e" not in printed
    assert "\\x1b]0;owned" in out_of_images(evil, capsys)


def out_of_images(guest: str, capsys: pytest.CaptureFixture[str]) -> str:
    with served(StandIn({"internal": storage({"x": image("x", guests=(guest,))})})) as url:
        return out(capsys, url, "images")
