"""Scenario files: read whole, and everything wrong with one told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import ScenarioError
from lab.reading import parse, read
from lab.verbs.gluster import KillBricks
from lab.verbs.hosts import PowerOff

SCENARIOS = sorted((Path(__file__).parents[2] / "lab/scenarios").glob("*.toml"))

GOOD = '''
about = "one host"
declaration = """
[image_storages.internal]
hosts = ["alpha"]
"""
[expected]
documents = { internal = "x.json" }
[[hosts]]
name = "alpha"
address = "10.0.0.1"
[[hosts]]
name = "beta"
address = "10.0.0.2"
[[disks]]
name = "one"
size_kib = 1000
seen_by = ["alpha"]
wwn = "0x5000c50015ea71b1"
[[filesystems]]
kind = "xfs"
disk = "one"
mounts = [{ hosts = ["alpha"], at = "/data" }]
[[images]]
host = "alpha"
path = "/data/win"
size_mib = 10
[[guests]]
name = "win"
host = "alpha"
disks = ["/data/win"]
[[gluster_volumes]]
name = "vol"
bricks = ["alpha:/data/b", "beta:/b"]
[[faults]]
name = "beta is off"
do = [{ verb = "power-off", host = "beta" }, { verb = "kill-bricks", bricks = ["alpha:/data/b"] }]
expect = [{ volume = "vol", status = "broken", message = "bricks" }]
'''

SPLIT = "verb = 'split-brain', volume = 'vol'"


EXPORT = "[[exports]]\npath = '/srv'\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_of_the_project_can_be_read(path: Path) -> None:
    assert read(path).hosts


def test_a_scenario_is_read_with_its_defaults() -> None:
    scenario = parse(GOOD)
    assert scenario.disks[0].paths == 1
    assert scenario.manager.host_timeout_s == 60
    assert scenario.gluster_hosts == ["alpha", "beta"]
    assert scenario.ocfs2_hosts == []
    assert [disk.name for disk in scenario.disks_of("alpha")] == ["one"]
    assert scenario.disks_of("beta") == []
    assert scenario.mounts_of("alpha")[0][1].at == "/data"


def test_the_verbs_of_a_fault_are_read_by_their_names() -> None:
    first, second = parse(GOOD).faults[0].do
    assert isinstance(first, PowerOff)
    assert isinstance(second, KillBricks)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('name = "beta"', 'name = "alpha"', "hosts: 'alpha' is there 2 times"),
        ("10.0.0.2", "10.0.0.1", "hosts: '10.0.0.1' is there 2 times"),
        ("10.0.0.2", "beta", "hosts[1].address: 'beta' is no address"),
        ('name = "beta"', 'name = "be ta"', "hosts[1].name: 'be ta' is no host name"),
        ('seen_by = ["alpha"]', 'seen_by = ["gamma"]', "disks[0].seen_by: there is no host 'gamma'"),
        ('seen_by = ["alpha"]', 'seen_by = ["beta"]', "alpha mounts it, but does not see the disk 'one'"),
        ("0x5000c50015ea71b1", "5000c500", "disks[0].wwn: '5000c500' is no WWN"),
        ("size_kib = 1000", "size_kib = 0", "disks[0].size_kib: 0 is no size"),
        ("size_kib = 1000", 'size_kib = 1000\nvendor = "TOO LONG IT IS"', "does not fit an INQUIRY field"),
        ("size_kib = 1000", 'size_kib = 1000\nvendor = "a,b"', "without commas"),
        ('disk = "one"', 'disk = "two"', "filesystems[0].disk: there is no disk 'two'"),
        ('kind = "xfs"', 'kind = "zfs"', "$.filesystems[0].kind"),
        ('kind = "xfs"', 'kind = "xfs"\nfoo = 1', "unknown field `foo` - at `$.filesystems[0]`"),
        ('at = "/data"', 'at = "data"', "'data' is no absolute path"),
        ('disks = ["/data/win"]', 'disks = ["/data/mac"]', "no image of alpha has the path '/data/mac'"),
        ("size_mib = 10", 'size_mib = 10\nbacking = "/x"', "images[0].backing: no image of alpha"),
        (
            "size_mib = 10",
            'size_mib = 10\nformat = "qcow2"\nallocated = true',
            "images[0]: only a raw image",
        ),
        ('"beta:/b"', '"gamma:/b"', "gluster_volumes[0].bricks: there is no host 'gamma'"),
        ('host = "beta" }', 'host = "gamma" }', "faults[0].do: there is no host 'gamma'"),
        ('bricks = ["alpha:/data/b"] }', 'bricks = ["alpha:/c"] }', "there is no brick 'alpha:/c'"),
        ('{ verb = "power-off", host = "beta" }', '{ verb = "kill-manager", number = 2 }', "no manager 2"),
        ("[expected]", "[manager]\ncount = 2\n[expected]", "manager.count: several managers share a server"),
        ('{ verb = "power-off", host = "beta" }', '{ verb = "stop-database" }', "no database server"),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "claim", host = "beta", of = "gamma" }',
            "faults[0].do: there is no host 'gamma'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "hang-client", host = "beta", at = "/mnt" }',
            "'beta' mounts no Gluster volume at '/mnt'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            f"{{ {SPLIT}, path = '/f', sides = ['alpha:/data/b', 'beta:/c'] }}",
            "'vol' has no brick 'beta:/c'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            f"{{ {SPLIT}, path = '/f', sides = ['alpha:/data/b', 'alpha:/data/b'] }}",
            "sides: 'alpha:/data/b' is there 2 times",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            f"{{ {SPLIT}, path = 'f', sides = ['alpha:/data/b', 'beta:/b'] }}",
            "'f' is no path in a volume",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "boot", hosts = ["gamma"] }',
            "faults[0].do: there is no host 'gamma'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "unmount", host = "beta", at = "/data" }',
            "'beta' mounts nothing at '/data'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "format", host = "beta", disk = "one" }',
            "'beta' sees no disk 'one'",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "wipe", host = "alpha", disk = "one" }',
            "faults[0].do: 'one' holds a filesystem",
        ),
        (
            '{ verb = "power-off", host = "beta" }',
            '{ verb = "suspend", host = "alpha", disk = "one" }',
            "'alpha' has no map over a disk 'one'",
        ),
        (
            '[[filesystems]]\nkind = "xfs"',
            'paths = 2\n[[filesystems]]\nkind = "xfs"\nmapped = true',
            "filesystems[0].mapped: 'one' has several paths",
        ),
        ("[[faults]]", f"{EXPORT}host = 'gamma'\n[[faults]]", "exports[0].host: there is no host 'gamma'"),
        (
            "[[faults]]",
            f"{EXPORT}host = 'beta'\n{EXPORT}host = 'beta'\n[[faults]]",
            "exports: 'beta' is there",
        ),
        ("expect = [", "# expect = [", "faults[0]: says of nothing that it must be seen"),
        (
            "expect = [",
            "expect_hosts = [{ host = 'gamma', state = 'running' }]\nexpect = [",
            "no host 'gamma'",
        ),
        ("power-off", "explode", "$.faults[0].do[0]"),
        ('status = "broken"', 'status = "bad"', "$.faults[0].expect[0].status"),
        ('message = "bricks"', 'message = "("', "faults[0].expect: '(' is no pattern"),
        ('hosts = ["alpha"]\n"""', 'hosts = "alpha"\n"""', "declaration: image_storages.internal.hosts"),
        ('about = "one host"', "", "missing required field `about`"),
        ('about = "one host"', "about = ", "correct the TOML there"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(right: str, wrong: str, told: str) -> None:
    assert right in GOOD
    with pytest.raises(ScenarioError) as caught:
        parse(GOOD.replace(right, wrong, 1))
    assert told in str(caught.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = GOOD.replace("10.0.0.2", "beta").replace("size_kib = 1000", "size_kib = 0")
    with pytest.raises(ScenarioError) as caught:
        parse(text, "bad.toml")
    assert len(str(caught.value).splitlines()) == 2
    assert all(line.startswith("bad.toml: ") for line in str(caught.value).splitlines())


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        read(tmp_path / "none.toml")


def test_a_missing_expected_document_is_told_before_anything_boots(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(GOOD)
    with pytest.raises(ScenarioError, match=r"expected\.document"):
        read(tmp_path / "lab.toml")
