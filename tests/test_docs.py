"""What is there is documented: each source, setting, status and error by its name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from storekeeper import errors
from storekeeper.cli import storekeeper
from storekeeper.declaration_toml import load
from storekeeper.document import (
    ExternalVolumeInfo,
    GlusterVolumeInfo,
    ImageStorageInfo,
    PhysicalDiskInfo,
    Status,
    VolumeInfo,
)
from storekeeper.formats import FORMATS
from storekeeper.merge.status import TABLE
from storekeeper.sources import SOURCES

DOCS = Path(__file__).resolve().parents[1] / "docs"
SETTINGS = (
    "manager.listen", "manager.certificate", "manager.key", "manager.database",
    "manager.host_timeout_s", "manager.probe_every_s",
    "hosts.ID.description", "host.id", "hosts", "primary_disk_id",
    "mount_point", "source", "mounted", "aliases", "gvolume_name",
)  # fmt: skip


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


MANUALS = (DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
# A line of a block that shows the command line; what follows ` #` is a remark, ` >` a file.
SHOWN = re.compile(r"^ *(?:\$ )?(?:\.venv/bin/)?storekeeper (.*?)(?: +[#>].*)?$", re.MULTILINE)
LINES = [line for manual in MANUALS for line in SHOWN.findall(manual.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("line", LINES)
def test_every_command_that_is_shown_is_one(line: str) -> None:
    command: click.Command | None = storekeeper
    words = shlex.split(line)
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    command.make_context("storekeeper", words).close()


def test_the_first_thing_to_read_shows_how_many_hosts_have_one_manager() -> None:
    shown = SHOWN.findall((DOCS.parent / "README.md").read_text(encoding="utf-8"))
    assert {"serve", "host add kvm2", "apply storages.toml"} <= set(shown)


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_source_reads_and_with_which_rights_is_documented(source: str) -> None:
    assert f"`{source}`" in text("host-access.md")


@pytest.mark.parametrize("format_name", [row.name for row in FORMATS])
def test_every_format_is_named(format_name: str) -> None:
    assert format_name.lower() in text("fields.md").lower()


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_documented(setting: str) -> None:
    assert setting in text("declaration.md")


@pytest.mark.parametrize("status", get_args(Status))
def test_every_status_is_documented(status: str) -> None:
    assert f"| `{status}` |" in text("fields.md")


def test_the_table_of_statuses_is_the_one_in_the_code_in_its_order() -> None:
    rows = "\n".join(f"| `{row.status}` | {row.when} |" for row in TABLE)
    assert rows in text("fields.md")


@pytest.mark.parametrize(
    "struct", [ImageStorageInfo, VolumeInfo, ExternalVolumeInfo, GlusterVolumeInfo, PhysicalDiskInfo]
)
def test_every_field_of_the_document_is_documented(struct: type[msgspec.Struct]) -> None:
    documented = text("fields.md")
    for field in struct.__struct_fields__:
        assert f"`{field}`" in documented or field in {"volumes", "external_volumes", "gluster_volumes"}, (
            field
        )


def test_the_example_of_a_declaration_can_be_loaded() -> None:
    page = text("declaration.md")
    block = page[page.index("    [manager]") : page.index("Declaring never touches")]
    declaration = load("\n".join(line.removeprefix("    ") for line in block.splitlines()), "flexdev01")
    assert [volume.volume_id for volume in declaration.image_storages["internal"].volumes] == [
        "samsung_ssd", "home_flexvdi", "test_vol1",
    ]  # fmt: skip


def test_one_code_means_one_http_status_and_one_exit_code() -> None:
    meanings: dict[str, set[tuple[int, int]]] = {}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, errors.StorekeeperError):
            meanings.setdefault(each.code, set()).add((each.http_status, each.exit_code))
    assert {code: found for code, found in meanings.items() if len(found) > 1} == {}
