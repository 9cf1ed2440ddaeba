"""The document's route: prepared bytes, an ETag for each encoding, nothing sent that the client has."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from litestar.types import ASGIApp

from storekeeper.api import create_app
from storekeeper.document import ImageStorageBasicInfo, ImageStorageInfo
from tests.api.standin import StandIn, ask

ROUTES = ["/imagestorages", "/imagestorages/internal", "/imagestorages/internal/"]
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "zstd": zstandard.ZstdDecompressor().decompress,
}


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    return create_app(StandIn())


def test_the_document_is_the_bytes_that_were_published(app: ASGIApp) -> None:
    answer = ask(app, "/imagestorages/internal")
    published = StandIn().published("internal")
    assert published is not None
    assert answer.body == published.identity
    assert answer.headers["etag"] == f'"{published.etag}"'
    document = msgspec.json.decode(answer.body, type=ImageStorageInfo)
    assert document.external_volumes[0].clones[0].clone_id == "corus_demo_corus"


def test_the_list_names_each_storage_with_its_hosts(app: ASGIApp) -> None:
    rows = msgspec.json.decode(ask(app, "/imagestorages").body, type=list[ImageStorageBasicInfo])
    assert rows == [ImageStorageBasicInfo(image_storage_id="internal", hosts=["flexdev01"])]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("encoding", DECODERS)
def test_each_encoding_holds_the_same_document_under_its_own_tag(
    app: ASGIApp, route: str, encoding: str
) -> None:
    plain = ask(app, route)
    answer = ask(app, route, ("accept-encoding", encoding))
    assert answer.status == 200
    assert DECODERS[encoding](answer.body) == plain.body
    assert answer.headers.get("content-encoding", "identity") == encoding
    suffix = "" if encoding == "identity" else f"-{encoding}"
    assert answer.headers["etag"] == plain.headers["etag"][:-1] + suffix + '"'


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("encoding", DECODERS)
def test_every_answer_says_how_it_may_be_kept(app: ASGIApp, route: str, encoding: str) -> None:
    headers = ask(app, route, ("accept-encoding", encoding)).headers
    assert headers["vary"] == "accept-encoding"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("encoding", DECODERS)
def test_what_the_client_has_is_304_without_a_body(app: ASGIApp, route: str, encoding: str) -> None:
    accept = ("accept-encoding", encoding)
    first = ask(app, route, accept)
    again = ask(app, route, accept, ("if-none-match", first.headers["etag"]))
    assert (again.status, again.body) == (304, b"")
    for name in ("etag", "vary", "cache-control"):
        assert again.headers[name] == first.headers[name]
    assert "content-length" not in again.headers


@pytest.mark.parametrize("route", ROUTES)
def test_the_tag_of_another_encoding_is_not_what_the_client_has(app: ASGIApp, route: str) -> None:
    gzipped = ask(app, route, ("accept-encoding", "gzip")).headers["etag"]
    assert ask(app, route, ("if-none-match", gzipped)).status == 200


@pytest.mark.parametrize("route", ROUTES)
def test_headers_that_come_in_several_lines_count_as_one(app: ASGIApp, route: str) -> None:
    answer = ask(app, route, ("accept-encoding", "zstd;q=0.1"), ("accept-encoding", "gzip"))
    assert answer.headers["content-encoding"] == "gzip"
    tag = ask(app, route).headers["etag"]
    assert ask(app, route, ("if-none-match", '"a"'), ("if-none-match", tag)).status == 304


@pytest.mark.parametrize("route", [*ROUTES, "/healthz", "/managerinfo", "/imagestorages/internal/images"])
@pytest.mark.parametrize("encoding", DECODERS)
def test_head_is_get_without_the_body(app: ASGIApp, route: str, encoding: str) -> None:
    accept = ("accept-encoding", encoding)
    head, full = ask(app, route, accept, method="HEAD"), ask(app, route, accept)
    assert head.body == b""
    assert (head.status, head.headers) == (full.status, full.headers)
    assert int(head.headers["content-length"]) == len(full.body)


def test_a_storage_id_written_with_escapes_is_the_same_storage(app: ASGIApp) -> None:
    assert ask(app, "/imagestorages/%69nternal").body == ask(app, "/imagestorages/internal").body


def test_the_shortest_path_answers_exactly_as_the_routes_do(app: ASGIApp) -> None:
    # The door knows no trailing slash, so this goes through the routes.
    accept = ("accept-encoding", "zstd")
    assert ask(app, "/imagestorages/internal", accept) == ask(app, "/imagestorages/internal/", accept)
