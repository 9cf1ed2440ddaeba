"""The rule: whatever goes wrong on whatever route, the answer is an ErrorMessage that leaks nothing."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.types import ASGIApp

from storekeeper.api import create_app
from storekeeper.document import ErrorMessage
from tests.api.standin import Answer, StandIn, ask

SECRET = "hunter2-secret"

ROUTES = [
    "/imagestorages",
    "/imagestorages/internal",
    "/imagestorages/internal/images",
    "/imagestorages/internal/volumes/home_flexvdi/images/corus",
    "/imagestorages/internal/disks",
    "/healthz",
    "/managerinfo",
    "/schema/openapi.json",
]
OF_THE_TRUTH = [route for route in ROUTES if route.startswith("/imagestorages")]


@pytest.fixture(scope="module")
def manager() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def app(manager: StandIn) -> ASGIApp:
    return create_app(manager)


def assert_error(answer: Answer, status: int, code: str) -> str:
    """The rule. Returns the sentence."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert set(answer.json) == {"status", "message", "code"}
    assert answer.json["status"] == "Error"
    assert answer.json["code"] == code
    message: str = answer.json["message"]
    assert message[-1] in ".?"
    for leak in (SECRET, "Traceback", "storekeeper/", ".py", "site-packages"):
        assert leak not in answer.body.decode()
    return message


def test_the_shape_is_the_documents_own() -> None:
    assert ErrorMessage(message="x", code="y").status == "Error"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_no_route_has_is_405_and_those_that_there_are_are_named(
    app: ASGIApp, manager: StandIn, route: str, method: str
) -> None:
    answer = ask(app, route, method=method, token=manager.administrator)
    assert_error(answer, 405, "method-not-allowed")
    assert {"GET", "HEAD"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        "/", f"/{SECRET}", "/imagestorages/internal/imagess",
        "/imagestorages/internal/volumes/home_flexvdi/images",
        "/schema/nope", "/schema/swagger", "/schema/openapi.yaml", "/favicon.ico", "/metrics",
        "/imagestorages//internal", "//imagestorages", "/imagestorages/internal/images/corus",
    ],
)  # fmt: skip
def test_an_unknown_path_is_404_and_is_not_repeated(app: ASGIApp, path: str) -> None:
    message = assert_error(ask(app, path), 404, "not-found")
    assert "No such route" in message


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/imagestorages/internal/volumes", "POST"),
        ("/imagestorages/internal/gluster_volumes/g", "DELETE, PUT"),
    ],
)
def test_a_path_that_is_there_for_other_methods_is_405_and_names_them(
    app: ASGIApp, path: str, allowed: str
) -> None:
    answer = ask(app, path)
    assert_error(answer, 405, "method-not-allowed")
    assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allowed


def test_an_unknown_storage_is_404_and_the_nearest_is_suggested(app: ASGIApp) -> None:
    message = assert_error(ask(app, "/imagestorages/internl"), 404, "not-found")
    assert message == "No image storage 'internl'. Did you mean 'internal'?"


@pytest.mark.parametrize("rest", ["", "/images", "/disks", "/volumes/home_flexvdi/images/corus"])
def test_an_unknown_storage_is_404_below_it_too(app: ASGIApp, rest: str) -> None:
    assert_error(ask(app, f"/imagestorages/other{rest}"), 404, "not-found")


def test_an_unknown_volume_is_404(app: ASGIApp) -> None:
    message = assert_error(ask(app, "/imagestorages/internal/volumes/home/images/corus"), 404, "not-found")
    assert message == "No volume 'home'. There is: home_flexvdi."


def test_an_unknown_image_is_404_and_the_nearest_is_suggested(app: ASGIApp) -> None:
    message = assert_error(
        ask(app, "/imagestorages/internal/volumes/home_flexvdi/images/coruss"), 404, "not-found"
    )
    assert message == "No image 'coruss'. Did you mean 'corus'?"


def test_a_very_long_unknown_name_is_told_in_part(app: ASGIApp) -> None:
    message = assert_error(ask(app, "/imagestorages/" + "x" * 20_000), 404, "not-found")
    assert len(message) < 200


@pytest.mark.parametrize("route", [*OF_THE_TRUTH, "/healthz"])
def test_while_the_manager_starts_what_it_does_not_know_is_503(route: str) -> None:
    starting = create_app(StandIn(ready=False))
    assert_error(ask(starting, route), 503, "not-known")


def test_while_the_manager_starts_an_unknown_storage_is_503_too_since_nothing_is_known_yet() -> None:
    assert_error(ask(create_app(StandIn({}, ready=False)), "/imagestorages/x"), 503, "not-known")


@pytest.mark.parametrize("route", ["/managerinfo", "/schema/openapi.json"])
def test_while_the_manager_starts_it_says_what_it_is(route: str) -> None:
    assert ask(create_app(StandIn(ready=False)), route).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8017", "127.0.0.1.evil.example", "10.0.0.1",
                                  "localhost.evil.example", "", "127.0.0.1:8017@evil.example", "[::2]:8017",
                                  "0.0.0.0:8017", "127.0.0.1\n"])  # fmt: skip
@pytest.mark.parametrize("route", ["/imagestorages/internal", "/healthz"])
def test_a_request_for_another_host_is_403_since_a_browser_was_tricked(
    app: ASGIApp, route: str, host: str
) -> None:
    message = assert_error(ask(app, route, host=host), 403, "refused")
    assert "evil" not in message


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:65535", "[::1]", "[::1]:80"]
)
def test_this_host_by_any_of_its_loopback_names_is_answered(app: ASGIApp, host: str) -> None:
    assert ask(app, "/imagestorages/internal", host=host).status == 200


def test_a_request_without_a_host_is_400_and_http_1_0_may_do_without(app: ASGIApp) -> None:
    assert_error(ask(app, "/imagestorages/internal", host=None), 400, "bad-request")
    assert ask(app, "/imagestorages/internal", host=None, http_version="1.0").status == 200


def test_two_hosts_are_400(app: ASGIApp) -> None:
    assert_error(ask(app, "/imagestorages/internal", ("host", "localhost")), 400, "bad-request")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (b"/imagestorages/a%", "%25"), (b"/imagestorages/a%G1", "%25"), (b"/imagestorages/%ff", "UTF-8"),
        (b"/imagestorages/%ed%a0%80", "UTF-8"), (b"/imagestorages/a%00b", "NUL"),
        (b"/imagestorages/internal/volumes/home_flexvdi/images/%ff", "%25XX"),
    ],
)  # fmt: skip
def test_a_path_that_is_no_percent_encoded_text_is_400(app: ASGIApp, path: bytes, word: str) -> None:
    assert word in assert_error(ask(app, path), 400, "bad-request")


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if not route.endswith(("/images", "/disks", ".json"))]
)
def test_a_parameter_where_there_is_none_is_400(app: ASGIApp, route: str) -> None:
    assert_error(ask(app, f"{route}?{SECRET}={SECRET}"), 400, "bad-request")


@pytest.mark.parametrize("route", ["/imagestorages/internal/images", "/imagestorages/internal/disks"])
@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("colour=red", "No parameter 'colour'"), ("limit=0", "limit"), ("limit=1001", "limit"),
        ("limit=-1", "limit"), ("limit=1e2", "limit"), ("limit=", "limit"), ("limit=%D9%A1", "limit"),
        ("limit=1&limit=2", "2 times"), ("sort=colour", "sort"), ("sort=--size_bytes", "sort"),
        ("sort=paths", "sort"), ("sort=faults", "sort"), ("fields=image,colour", "fields"),
        ("fields=", "fields"), ("after=x", "after"), ("after=%FF", "UTF-8"),
        ("after=WyIiLCB7fSwgW11d", "after"), ("a=%", "%25"), ("=&=", "No parameter"), ("limit", "NAME=VALUE"),
        ("&".join(["vendor=x"] * 101), "at most"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_meant_is_400_and_says_what_is_wrong(
    app: ASGIApp, route: str, query: str, word: str
) -> None:
    assert word in assert_error(ask(app, f"{route}?{query}"), 400, "bad-request")


def test_a_long_unknown_parameter_is_told_in_part(app: ASGIApp) -> None:
    message = assert_error(ask(app, f"/imagestorages/internal/disks?{'x' * 5000}=1"), 400, "bad-request")
    assert len(message) < 400


def test_a_client_that_accepts_no_encoding_is_406(app: ASGIApp) -> None:
    answer = ask(app, "/imagestorages/internal", ("accept-encoding", "br, identity;q=0"))
    assert_error(answer, 406, "not-acceptable")


@pytest.mark.parametrize("route", OF_THE_TRUTH)
def test_our_own_fault_is_500_without_its_reason(route: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(StandIn):
        def published(self, image_storage_id: str) -> Any:
            raise RuntimeError(SECRET)

        def listing(self) -> Any:
            raise OSError(5, SECRET, "/etc/shadow")

        def truth(self) -> Any:
            raise KeyError(SECRET)

    message = assert_error(ask(create_app(Broken()), route), 500, "internal")
    assert "log" in message
    logged = capsys.readouterr()
    assert SECRET in logged.out + logged.err


def test_a_host_error_that_reached_a_route_does_not_tell_its_path() -> None:
    from storekeeper.errors import Unreadable

    class Broken(StandIn):
        def truth(self) -> Any:
            raise Unreadable("/srv/" + SECRET, "Input/output error")

    assert_error(ask(create_app(Broken()), "/imagestorages/internal/images"), 500, "internal")


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/imagestorages/none", "HEAD"),
        ("/none", "HEAD"),
        ("/imagestorages/%ff", "HEAD"),
        ("/imagestorages?a=b", "HEAD"),
    ],
)
def test_head_has_the_headers_of_an_error_without_its_body(app: ASGIApp, target: str, method: str) -> None:
    head, full = ask(app, target, method=method), ask(app, target)
    assert head.body == b""
    assert (head.status, head.headers) == (full.status, full.headers)
