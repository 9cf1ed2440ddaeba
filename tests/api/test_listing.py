"""Pages, filters and orders of the lists."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.types import ASGIApp

from storekeeper.api import create_app
from storekeeper.api.listing import Key, Rows, page, query
from storekeeper.document import DiskDetail, ImageDetail
from tests.api.standin import HOME, StandIn, ask, image, storage

IMAGES = "/imagestorages/internal/images"
VOLUME = "/imagestorages/internal/volumes/home_flexvdi/images"


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    return create_app(StandIn())


def ids(app: ASGIApp, query_string: str) -> list[str]:
    answer = ask(app, f"{IMAGES}?{query_string}")
    assert answer.status == 200, answer
    return [row["image_id"] for row in answer.json]


def test_a_list_is_a_bare_array_of_rows_ordered_by_volume_and_id(app: ASGIApp) -> None:
    rows = msgspec.json.decode(ask(app, IMAGES).body, type=list[ImageDetail])
    assert [row.image_id for row in rows] == sorted(HOME)
    assert rows[0].allocated_bytes == 11 << 30
    assert rows[1].parent_image_id == "corus"


@pytest.mark.parametrize(
    ("query_string", "wanted"),
    [
        ("kind=clone", ["corus_demo_corus"]),
        ("format=raw", ["team/a/50%25 off.raw"]),
        ("format=raw&format=qcow2&kind=image", ["corus", "team/a/50%25 off.raw", "test"]),
        ("guests=corus", ["corus", "corus_demo_corus"]),
        ("guests=", ["team/a/50%25 off.raw", "test"]),
        ("faults=truncated", ["test"]),
        ("faults=", ["corus", "corus_demo_corus", "team/a/50%25 off.raw"]),
        ("parent_image_id=corus", ["corus_demo_corus"]),
        ("allocated_bytes=2147483648", ["team/a/50%25 off.raw"]),
        ("thin=true&format=raw", ["team/a/50%25 off.raw"]),
        ("image_id=team%2Fa%2F50%2525+off.raw", ["team/a/50%25 off.raw"]),
        ("volume_id=other", []),
        ("image_id=test&image_id=corus", ["corus", "test"]),
        ("image_id=test&kind=clone", []),
        ("kind=clone&format=raw", []),
    ],
)
def test_a_filter_is_a_field_and_what_it_may_be(app: ASGIApp, query_string: str, wanted: list[str]) -> None:
    assert ids(app, query_string) == wanted


def test_sort_names_a_field_and_a_minus_turns_it_round(app: ASGIApp) -> None:
    rising = ids(app, "sort=allocated_bytes")
    assert rising[-2:] == ["team/a/50%25 off.raw", "corus"]
    assert ids(app, "sort=-allocated_bytes") == rising[::-1]


def test_fields_picks_some_in_the_order_asked_for(app: ASGIApp) -> None:
    rows = ask(app, f"{IMAGES}?fields=format,image_id&limit=1").json
    assert [list(row.items()) for row in rows] == [[("format", "qcow2"), ("image_id", "corus")]]


@pytest.mark.parametrize(
    "more", ["", "sort=virtual_bytes", "sort=-virtual_bytes", "kind=image", "fields=image_id"]
)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_following_the_links_gives_every_row_once_in_order(app: ASGIApp, more: str, limit: int) -> None:
    whole = ids(app, more)
    target, got = f"{IMAGES}?limit={limit}&{more}".rstrip("&"), []
    while target:
        answer = ask(app, target)
        assert len(answer.json) <= limit
        got += [row["image_id"] for row in answer.json]
        link = answer.headers.get("link", "")
        assert not link or link.endswith('>; rel="next"')
        target = link[1 : link.index(">")] if link else ""
    assert got == whole


def test_a_page_starts_after_a_row_that_is_gone_by_now(app: ASGIApp) -> None:
    link = ask(app, f"{IMAGES}?limit=1").headers["link"]
    without = create_app(StandIn({"internal": storage({k: v for k, v in HOME.items() if k != "corus"})}))
    assert ask(without, link[1 : link.index(">")]).json[0]["image_id"] == "corus_demo_corus"


def test_a_cursor_of_another_order_is_refused(app: ASGIApp) -> None:
    link = ask(app, f"{IMAGES}?limit=1&sort=format").headers["link"]
    target = link[1 : link.index(">")].replace("sort=format", "sort=virtual_bytes")
    assert ask(app, target).status == 400


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.text("xyz", min_size=1, max_size=3)), unique=True),
    st.integers(1, 5),
    st.sampled_from(["", "image_id", "-image_id", "volume_id", "-volume_id"]),
)
def test_pages_of_any_rows_are_the_whole_cut_in_pieces(keys: list[Key], limit: int, sort: str) -> None:
    def row_of(key: Key) -> ImageDetail:
        return msgspec.convert({**EMPTY, "volume_id": key[0], "image_id": key[1]}, ImageDetail)

    rows = Rows(keys, ("volume_id", "image_id"), row_of)

    def pages(size: int) -> list[Any]:
        got, query_string = [], f"limit={size}&sort={sort}".encode()
        while query_string:
            found = page(rows, query(query_string, ImageDetail), query_string)
            got += found.rows
            query_string = found.next_query.encode()
        return got

    whole = pages(1000)
    assert pages(limit) == whole
    assert sorted((row.volume_id, row.image_id) for row in whole) == sorted(keys)


def test_a_row_is_made_only_where_what_is_at_hand_does_not_tell() -> None:
    made: list[Key] = []

    def row_of(key: Key) -> ImageDetail:
        made.append(key)
        return msgspec.convert({**EMPTY, "image_id": key[0], "file_bytes": len(key[0])}, ImageDetail)

    def ids_of(query_string: bytes) -> list[str]:
        made.clear()
        keys = [(name,) for name in ("a", "bb", "ccc", "dddd")]
        rows = Rows(keys, ("image_id",), row_of, {"file_bytes": lambda key: len(key[0])})
        return [row.image_id for row in page(rows, query(query_string, ImageDetail), query_string).rows]

    assert ids_of(b"file_bytes=2&file_bytes=3") == ["bb", "ccc"]
    assert made == [("bb",), ("ccc",)]
    assert ids_of(b"sort=-file_bytes&limit=1") == ["dddd"]
    assert made == [("dddd",)]
    assert ids_of(b"file_bytes=2&kind=image") == ["bb"]
    assert not ids_of(b"file_bytes=2&kind=clone")
    assert ids_of(b"file_bytes=3&sort=kind") == ["ccc"]


EMPTY = msgspec.json.decode(ask(create_app(StandIn()), f"{IMAGES}?limit=1").body)[0]


def test_the_disks_tell_why_they_are_not_usable(app: ASGIApp) -> None:
    rows = msgspec.json.decode(ask(app, "/imagestorages/internal/disks").body, type=list[DiskDetail])
    assert [(row.device, row.usable, row.reasons) for row in rows] == [
        ("/dev/sda", False, ["has a partition table", "holds /"]),
        ("/dev/sdb", True, []),
    ]
    assert len(ask(app, "/imagestorages/internal/disks?usable=false").json) == 1


@pytest.mark.parametrize(
    "path", [f"{VOLUME}/team%2Fa%2F50%2525%20off.raw", f"{VOLUME}/team/a/50%2525%20off.raw"]
)
def test_an_image_id_is_percent_encoded_once_more_and_its_own_escapes_stay(app: ASGIApp, path: str) -> None:
    answer = ask(app, path)
    assert (answer.status, answer.json["image_id"]) == (200, "team/a/50%25 off.raw")


@pytest.mark.parametrize(
    "name", ["a.b", ".hidden", "ü/ß.raw", "a?b#c", "a+b", "a%2Fb", "..", "a/../b", "%25"]
)
def test_every_id_that_a_volume_can_hold_is_found_under_its_encoding(name: str) -> None:
    from urllib.parse import quote

    app = create_app(StandIn({"internal": storage({name: image(name), "other": image("other")})}))
    answer = ask(app, f"{VOLUME}/{quote(name, safe='')}")
    assert (answer.status, answer.json["image_id"]) == (200, name)
    assert ask(app, f"{VOLUME}/{quote(name + 'x', safe='')}").status == 404
