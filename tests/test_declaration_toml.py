"""What an admin may write, and what is said when it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.declaration import Declaration, Host, ImageStorage, Volume
from storekeeper.declaration_toml import check, load, write
from storekeeper.declaration_values import SOURCES as NAMES_OF_SOURCES
from storekeeper.errors import DeclarationError
from storekeeper.sources import SOURCES

EXAMPLE = """
[manager]
listen = "127.0.0.1:8017"
database = "sqlite:///var/lib/storekeeper/storekeeper.db"
[host]
id = "flexdev01"
[image_storages.internal]
hosts = ["flexdev01"]
[image_storages.internal.volumes.samsung_ssd]
primary_disk_id = "3500253887013e77e"
[image_storages.internal.external_volumes.home_flexvdi]
mount_point = "/home/flexvdi"
source = "nas:/export/flexvdi"
aliases = ["/mnt/flexvdi"]
mounted = true
[image_storages.internal.gluster_volumes.test_vol1]
gvolume_name = "test_vol1"
"""

STORAGE = "[image_storages.s]\nhosts = ['h1']\n"
EXTERNAL = STORAGE + "[image_storages.s.external_volumes.v]\n"
V = "image_storages.s.external_volumes.v"


def errors(text: str) -> list[tuple[str, str]]:
    return [(error.key, error.text) for error in check(text)]


def only(text: str) -> tuple[str, str]:
    (error,) = errors(text)
    return error


def test_the_example_is_read_with_its_defaults() -> None:
    ssd, home, gluster = load(EXAMPLE, "other").image_storages["internal"].volumes
    assert load(EXAMPLE, "other").host_id == "flexdev01"
    assert (ssd.kind, ssd.mount_point, ssd.primary_disk_id) == (
        "ocfs2",
        "/storekeeper/samsung_ssd",
        "3500253887013e77e",
    )
    assert (home.kind, home.mount_point, home.source, home.mounted, home.aliases) == (
        "external",
        "/home/flexvdi",
        "nas:/export/flexvdi",
        True,
        ("/mnt/flexvdi",),
    )
    assert (gluster.kind, gluster.mount_point) == ("gluster", "/storekeeper/test_vol1")
    assert gluster.mounted is None


def test_an_empty_file_declares_the_host_by_its_name_and_nothing_else() -> None:
    assert load("", "flexdev01") == Declaration(host_id="flexdev01", image_storages={})


def test_a_host_whose_name_is_no_id_must_be_given_one() -> None:
    with pytest.raises(DeclarationError, match=r"host\.id: is missing, and this host's name is '-x'"):
        load("", "-x")


def test_all_errors_of_a_file_are_found_at_once_and_load_raises_the_first() -> None:
    text = """
    [manager]
    listen = "nas:80"
    [image_storages.s]
    hosts = []
    [image_storages.s.external_volumes.a]
    mount_point = "/a"
    mounted = "yes"
    [image_storages.s.external_volumes.b]
    mount_point = "/a/b"
    """
    keys = [key for key, _ in errors(text)]
    assert keys == [
        "manager.listen",
        "image_storages.s.hosts",
        "image_storages.s.external_volumes.a.mounted",
        "image_storages.s.external_volumes.b.mount_point",
    ]
    with pytest.raises(DeclarationError, match=r"^manager\.listen: "):
        load(text, "h")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        (
            EXTERNAL + "mountpoint = '/a'\nmount_point = '/b'",
            f"{V}.mountpoint",
            "Did you mean 'mount_point'?",
        ),
        ("[manger]\n", "manger", "Did you mean 'manager'?"),
        (
            "[manager]\nzzz = 1",
            "manager.zzz",
            "Here may stand: listen, certificate, key, database, host_timeout_s, probe_every_s.",
        ),
        (STORAGE + "[image_storages.s.volume.x]", "image_storages.s.volume", "Did you mean 'volumes'?"),
        (STORAGE + '["image storages"]', '"image storages"', "Did you mean 'image_storages'?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text: str, key: str, hint: str) -> None:
    found, said = only(text)
    assert found == key
    assert said == f"is not a key of Storekeeper. {hint}"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("images", "'images' is relative; write the whole path, such as '/images'"),
        ("/a/../b", "'/a/../b' holds '..'; write the path without it"),
        ("/a//b", "'/a//b' is not in its normal form; write '/a/b'"),
        ("/a/", "'/a/' is not in its normal form; write '/a'"),
        ("/a/./b", "'/a/./b' is not in its normal form; write '/a/b'"),
        ("//a", "'//a' is not in its normal form; write '/a'"),
        ("/", "'/' is the whole system; write a directory of its own"),
        ("/a\\nb", "holds a control character; write it without"),
        ("/a\\u202eb", "holds a control character; write it without"),
        ("", "is empty; write a text, or leave the key out"),
    ],
)
def test_a_path_is_absolute_and_normal(path: str, said: str) -> None:
    assert only(EXTERNAL + f'mount_point = "{path}"') == (f"{V}.mount_point", said)
    assert only(EXTERNAL + f'mount_point = "/v"\naliases = ["{path}"]') == (f"{V}.aliases", f"entry 1 {said}")


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("mounted = 'yes'", "mounted", "is 'yes'; write true or false"),
        ("source = 5", "source", "is 5; write a text in quotes"),
        ("aliases = '/x'", "aliases", "is '/x'; write a list of paths, such as [\"/mnt/images\"]"),
        ("aliases = ['/x', '/x']", "aliases", "'/x' is listed twice; name it once"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_what_to_be(line: str, key: str, said: str) -> None:
    assert only(EXTERNAL + "mount_point = '/v'\n" + line) == (f"{V}.{key}", said)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("[]", "is empty; name at least one host"),
        ("['a', 'a']", "'a' is listed twice; name it once"),
        ("'a'", "is 'a'; write a list of host ids, such as [\"flexdev01\"]"),
    ],
)
def test_hosts_are_a_list_of_different_ids(listed: str, said: str) -> None:
    assert only(f"[image_storages.s]\nhosts = {listed}") == ("image_storages.s.hosts", said)


def test_a_storage_without_hosts_and_volumes_without_their_own_keys_are_told_what_is_missing() -> None:
    text = "[image_storages.s]\n[image_storages.s.volumes.a]\n[image_storages.s.external_volumes.b]\n"
    text += "[image_storages.s.gluster_volumes.c]"
    assert [key for key, said in errors(text) if said.startswith("is missing; write ")] == [
        "image_storages.s.hosts",
        "image_storages.s.volumes.a.primary_disk_id",
        "image_storages.s.external_volumes.b.mount_point",
        "image_storages.s.gluster_volumes.c.gvolume_name",
    ]


@pytest.mark.parametrize("bad", ["a b", ".a", "a/b", "ä", "a" * 64, "-", ""])
def test_an_id_that_cannot_stand_in_a_url_is_refused_wherever_one_is_chosen(bad: str) -> None:
    rule = "1 to 63 letters, digits, dots, underscores and hyphens, beginning with a letter or digit"
    assert only(f'[image_storages."{bad}"]\nhosts=["h"]')[1].endswith(rule)
    assert only(STORAGE + f'[image_storages.s.gluster_volumes."{bad}"]\ngvolume_name="g"\nmount_point="/g"')[
        1
    ].endswith(rule)
    assert only(f'[host]\nid = "{bad}"')[1].endswith(rule)
    assert only(f'[image_storages.s]\nhosts=["{bad}"]')[1].endswith(rule)


def test_one_volume_id_under_two_kinds_of_a_storage_is_refused() -> None:
    text = EXTERNAL + "mount_point='/a'\n[image_storages.s.gluster_volumes.v]\ngvolume_name='g'\n"
    assert only(text) == (
        "image_storages.s.gluster_volumes.v",
        f"the id is that of {V} too; give one of them another id",
    )


def test_a_table_declared_twice_is_named_by_its_dotted_key() -> None:
    key, said = only(STORAGE + "[image_storages.s]\n")
    assert (key, said) == (
        "image_storages.s",
        "is declared twice, again at line 3; keep one, or give it another id",
    )


def test_a_syntax_error_is_told_with_its_line() -> None:
    assert only("[manager]\nlisten 5") == (
        "",
        "Expected '=' after a key in a key/value pair (at line 2, column 8); correct the TOML there",
    )


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_a_file_made_to_exhaust_its_reader_is_an_error_as_well(text: str) -> None:
    assert len(check(text)) == 1


def test_mount_points_may_neither_be_equal_nor_lie_in_each_other_over_all_storages() -> None:
    text = """
    [image_storages.s]
    hosts = ["h"]
    external_volumes.a.mount_point = "/data"
    [image_storages.t]
    hosts = ["h"]
    external_volumes.b.mount_point = "/data"
    external_volumes.c.mount_point = "/data/deep/er"
    external_volumes.d.mount_point = "/database"
    """
    assert errors(text) == [
        (
            "image_storages.t.external_volumes.b.mount_point",
            "'/data' is that of image_storages.s.external_volumes.a too; "
            "give each volume a directory of its own",
        ),
        (
            "image_storages.t.external_volumes.c.mount_point",
            "'/data/deep/er' lies in '/data', which is image_storages.s.external_volumes.a; "
            "write a directory outside of it",
        ),
    ]


def test_one_disk_cannot_be_two_volumes() -> None:
    text = STORAGE + "volumes.a.primary_disk_id = '35'\nvolumes.b.primary_disk_id = '35'\n"
    assert only(text) == (
        "image_storages.s.volumes.b.primary_disk_id",
        "'35' is the disk of image_storages.s.volumes.a too; give each volume a disk of its own",
    )


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:0", "127.1.2.3:65535", "[::1]:80", "localhost:8017", "0.0.0.0:80", "[::]:80", "10.0.0.1:80"],
)
def test_listening_on_an_address_is_fine(address: str) -> None:
    assert load(f'[manager]\nlisten = "{address}"', "h").listen == address


@pytest.mark.parametrize("address", ["example.org:80", ":80", "*:80", "10.0.0.256:80"])
def test_listening_on_a_name_is_refused_with_the_reason(address: str) -> None:
    key, said = only(f'[manager]\nlisten = "{address}"')
    assert key == "manager.listen"
    assert "is no IP address; write one of this host's" in said


@pytest.mark.parametrize(("given", "missing"), [("certificate", "key"), ("key", "certificate")])
def test_a_certificate_needs_its_key_and_a_key_its_certificate(given: str, missing: str) -> None:
    assert only(f"[manager]\n{given} = '/etc/storekeeper/x.pem'") == (
        f"manager.{missing}",
        f"is missing beside manager.{given}; write both",
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "8017", "127.0.0.1:x", "127.0.0.1:65536", "::1:80"])
def test_an_address_without_a_usable_port_is_refused(address: str) -> None:
    assert only(f'[manager]\nlisten = "{address}"')[1].startswith(f"is {address!r}; write an ")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "true", "'60'", "86401"])
def test_a_time_out_is_a_sensible_number_of_seconds(value: str) -> None:
    key, said = only(f"[manager]\nhost_timeout_s = {value}")
    assert key == "manager.host_timeout_s"
    assert said.endswith("write a number of seconds from 1 to 86400")


def test_hosts_may_be_declared_with_what_they_are() -> None:
    declared = load("[hosts.h1]\ndescription = 'the first rack'\n[hosts.h2]\n", "h").hosts
    assert declared == {"h1": Host(host_id="h1", description="the first rack"), "h2": Host(host_id="h2")}


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("hosts.h1 = 5", "hosts.h1", "is 5; write a table, [hosts.h1]"),
        ("hosts = 5", "hosts", "is 5; write a table, [hosts]"),
        ("[hosts.h1]\ndescription = 5", "hosts.h1.description", "is 5; write a text in quotes"),
        (
            "[hosts.h1]\nrack = 5",
            "hosts.h1.rack",
            "is not a key of Storekeeper. Here may stand: description.",
        ),
    ],
)
def test_what_is_wrong_with_a_host_is_told_by_its_key(text: str, key: str, said: str) -> None:
    assert only(text) == (key, said)


def test_pauses_between_looks_are_declared_by_source() -> None:
    assert load("[manager.probe_every_s]\nimages = 2\nspace = 2.5", "h").every_s == {
        "images": 2.0,
        "space": 2.5,
    }


def test_a_pause_may_be_declared_of_every_source_and_of_nothing_else() -> None:
    assert set(NAMES_OF_SOURCES) == set(SOURCES)
    assert only("[manager.probe_every_s]\nimage = 2")[1].startswith("'image' is no source; there is: disks, ")
    assert only("[manager.probe_every_s]\nimages = 0.5")[1].startswith(
        "images is 0.5; write a number of seconds"
    )
    assert only("[manager]\nprobe_every_s = 5")[0] == "manager.probe_every_s"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://x/y",
        "sqlite://rel/ative.db",
        "/var/lib/x.db",
        "sqlite:///a/../b",
        "postgresql://host",
        "postgresql://host/",
        "postgresql://host/a/b",
        "postgresql:host/a",
        "postgresql://host:port/a",
    ],
)
def test_another_database_than_a_whole_path_or_postgresqls_is_refused(url: str) -> None:
    assert only(f'[manager]\ndatabase = "{url}"')[0] == "manager.database"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://storekeeper@db1/storekeeper",
        "postgresql://storekeeper@[fd00::1]:5432/storekeeper?sslmode=verify-full",
        "postgresql://storekeeper@/storekeeper?host=/run/postgresql",
        "postgresql://db1/storekeeper",
    ],
)
def test_a_database_may_be_postgresqls(url: str) -> None:
    assert load(f'[manager]\ndatabase = "{url}"', "h").database == url


@pytest.mark.parametrize("text", ["manager = 1", "host = []", "image_storages = 'x'", "image_storages.s = 5",
                                  STORAGE + "volumes = 1", STORAGE + "volumes.a = 1979-01-01"])  # fmt: skip
def test_what_should_be_a_table_and_is_none_is_told_so(text: str) -> None:
    assert "write a table, [" in only(text)[1]


IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=20)
NAMES = TEXTS.filter(lambda text: "/" not in text and text not in {".", ".."})
GLUSTER_NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    storages = {}
    places = iter(range(100))
    for storage_id in draw(st.lists(IDS, unique=True, max_size=3)):
        ids = iter(draw(st.lists(IDS, unique=True, min_size=6, max_size=6)))

        def place() -> str:
            return f"/{next(places)}/{draw(NAMES)}"

        volumes = [
            Volume(volume_id=next(ids), image_storage_id=storage_id, kind="ocfs2",
                   mount_point=place(), primary_disk_id=f"{draw(TEXTS)}{next(places)}")
            for _ in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        volumes += [
            Volume(volume_id=next(ids), image_storage_id=storage_id, kind="external", mount_point=place(),
                   source=draw(TEXTS | st.just("")), mounted=draw(st.none() | st.booleans()),
                   aliases=tuple(place() for _ in range(draw(st.integers(0, 2)))))
            for _ in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        volumes += [
            Volume(volume_id=next(ids), image_storage_id=storage_id, kind="gluster",
                   mount_point=place(), gvolume_name=draw(GLUSTER_NAMES))
            for _ in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        hosts = draw(st.lists(IDS, unique=True, min_size=1, max_size=3))
        storages[storage_id] = ImageStorage(
            image_storage_id=storage_id, hosts=tuple(hosts), volumes=tuple(volumes)
        )
    certificate, key = draw(st.sampled_from([("", ""), ("/etc/a.pem", "/etc/b.pem")]))
    return Declaration(
        certificate=certificate,
        key=key,
        host_id=draw(IDS),
        image_storages=storages,
        listen=draw(st.sampled_from(["127.0.0.1:1", "[::1]:2", "localhost:3", "0.0.0.0:4"])),
        database=f"sqlite:///{draw(NAMES)}",
        host_timeout_s=draw(st.floats(1, 86400)),
        hosts={
            host_id: Host(host_id=host_id, description=draw(TEXTS | st.just("")))
            for host_id in draw(st.lists(IDS, unique=True, max_size=2))
        },
        every_s=draw(st.dictionaries(st.sampled_from(sorted(SOURCES)), st.floats(1, 86400), max_size=3)),
    )


@given(declarations())
def test_what_is_written_is_read_back_the_same(declaration: Declaration) -> None:
    assert load(write(declaration), "another-host") == declaration


@given(st.text(max_size=200))
def test_no_text_makes_checking_raise(text: str) -> None:
    check(text)


VALUES: st.SearchStrategy[str] = st.sampled_from(
    [
        "1",
        "'x'",
        "'/a'",
        "true",
        "[]",
        "['/a']",
        "{}",
        "{x = 1}",
        "1979-01-01",
        "nan",
        "'a\\u0000'",
        '"\\u0000"',
    ]
)
KEYS = st.sampled_from(
    ["manager", "host", "image_storages", "s", "hosts", "volumes", "external_volumes", "gluster_volumes",
     "v", "mount_point", "primary_disk_id", "gvolume_name", "listen", "database", "id", "host_timeout_s",
     "aliases", "mounted", "source", "description", "probe_every_s", "images", '"a b"']
)  # fmt: skip


@given(st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=5), VALUES), max_size=4))
def test_any_values_at_any_keys_are_errors_or_a_declaration(lines: list[tuple[list[str], str]]) -> None:
    text = "\n".join(f"{'.'.join(keys)} = {value}" for keys, value in lines)
    if not check(text):
        load(text, "h")
