"""Who may come in: on loopback and off it, by which token, for what."""

from __future__ import annotations

import msgspec
import pytest
from litestar.types import ASGIApp

from storekeeper.api import create_app
from tests.api.standin import Answer, StandIn, ask

DOCUMENT = "/imagestorages/internal"
READING = ["/imagestorages", DOCUMENT, f"{DOCUMENT}/images", "/healthz", "/managerinfo", "/schema", "/nope"]
CHANGING = [("POST", "/imagestorages"), ("PUT", DOCUMENT), ("DELETE", "/hosts/h1"), ("POST", "/tokens"),
            ("POST", "/agents/report"), ("PATCH", "/x")]  # fmt: skip


@pytest.fixture(scope="module")
def manager() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def near(manager: StandIn) -> ASGIApp:
    """As on loopback."""
    return create_app(manager)


@pytest.fixture(scope="module")
def far(manager: StandIn) -> ASGIApp:
    """As off loopback."""
    return create_app(manager, on_loopback=False)


def refused(answer: Answer, status: int) -> bool:
    code = {401: "not-authenticated", 403: "refused"}[status]
    return (answer.status, answer.json["code"]) == (status, code)


@pytest.mark.parametrize("route", READING)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_off_loopback_nothing_is_read_without_a_token(far: ASGIApp, route: str, method: str) -> None:
    answer = ask(far, route, method=method)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", READING[:-1])
def test_on_loopback_reading_is_free(near: ASGIApp, route: str) -> None:
    assert ask(near, route).status == 200


@pytest.mark.parametrize("route", READING[:-1])
def test_a_viewer_reads_from_afar(far: ASGIApp, manager: StandIn, route: str) -> None:
    assert ask(far, route, token=manager.viewer, host="nas.example:8017").status == 200


@pytest.mark.parametrize(("method", "route"), CHANGING)
def test_nothing_is_changed_without_a_token_even_on_loopback(near: ASGIApp, method: str, route: str) -> None:
    assert refused(ask(near, route, method=method), 401)


@pytest.mark.parametrize(("method", "route"), CHANGING)
def test_a_viewer_changes_nothing(near: ASGIApp, manager: StandIn, method: str, route: str) -> None:
    assert refused(ask(near, route, method=method, token=manager.viewer), 403)


@pytest.mark.parametrize("kind", ["agent", "join"])
@pytest.mark.parametrize(
    ("method", "route"),
    [("GET", DOCUMENT), ("GET", "/tokens"), ("POST", "/imagestorages"), ("GET", "/agents")],
)
def test_an_agents_credential_is_for_agents_routes_only(
    far: ASGIApp, manager: StandIn, kind: str, method: str, route: str
) -> None:
    _, token = manager.access.make("agent" if kind == "agent" else "join", host_id="h1")
    assert refused(ask(far, route, method=method, token=token), 403)


def test_a_person_is_no_agent(near: ASGIApp, manager: StandIn) -> None:
    assert refused(ask(near, "/agents/report", method="POST", token=manager.administrator), 403)


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer sk_person_1_2", "Bearer \xff"]
)
def test_what_is_no_token_is_401_where_reading_is_free_too(near: ASGIApp, value: str) -> None:
    assert refused(ask(near, DOCUMENT, ("authorization", value)), 401)


def test_two_tokens_are_none(near: ASGIApp, manager: StandIn) -> None:
    bearer = ("authorization", f"Bearer {manager.viewer}")
    assert ask(near, DOCUMENT, bearer).status == 200
    assert refused(ask(near, DOCUMENT, bearer, bearer), 401)


def test_the_word_before_a_token_may_be_written_in_any_case(far: ASGIApp, manager: StandIn) -> None:
    assert ask(far, DOCUMENT, ("authorization", f"bEARER {manager.viewer}")).status == 200


@pytest.mark.parametrize(
    "header",
    [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:80"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ],
)
def test_another_sites_page_changes_nothing_even_with_a_token(
    near: ASGIApp, far: ASGIApp, manager: StandIn, header: tuple[str, str]
) -> None:
    for app in (near, far):
        answer = ask(app, "/tokens", header, method="POST", token=manager.administrator)
        assert refused(answer, 403)
        assert "page" in answer.json["message"]


@pytest.mark.parametrize(
    "headers", [(), (("origin", "http://127.0.0.1:8017"), ("sec-fetch-site", "same-origin"))]
)
def test_a_page_of_its_own_and_what_is_no_browser_may(
    near: ASGIApp, manager: StandIn, headers: tuple[tuple[str, str], ...]
) -> None:
    body = msgspec.json.encode({"role": "viewer"})
    assert ask(near, "/tokens", *headers, method="POST", token=manager.administrator, body=body).status == 201


# --- tokens -------------------------------------------------------------------------------------


def test_a_token_that_was_made_is_shown_once_and_proves_its_role(far: ASGIApp, manager: StandIn) -> None:
    body = msgspec.json.encode({"role": "viewer", "name": "dashboard", "expires_s": 3600})
    made = ask(far, "/tokens", method="POST", token=manager.administrator, body=body)
    assert made.status == 201
    token = made.json["token"]
    assert ask(far, DOCUMENT, token=token).status == 200
    assert refused(ask(far, "/tokens", token=token), 403)
    listed = ask(far, "/tokens", token=manager.administrator)
    row = next(row for row in listed.json if row["token_id"] == made.json["token_id"])
    assert (row["name"], row["role"], row["expires_at"] > row["created_at"]) == ("dashboard", "viewer", True)
    secret = token.rpartition("_")[2] if "_" not in token[-10:] else token[-10:]
    assert secret.encode() not in listed.body


def test_a_revoked_token_proves_nothing_from_then_on(far: ASGIApp, manager: StandIn) -> None:
    credential, token = manager.access.make("person")
    route = f"/tokens/{credential.credential_id}"
    assert ask(far, route, method="DELETE", token=manager.administrator).status == 200
    assert refused(ask(far, DOCUMENT, token=token), 401)
    assert ask(far, route, method="DELETE", token=manager.administrator).status == 404


def test_an_agents_credential_is_no_persons_token(near: ASGIApp, manager: StandIn) -> None:
    credential, _ = manager.access.make("agent", host_id="h1")
    listed = ask(near, "/tokens", token=manager.administrator).json
    assert credential.credential_id not in {row["token_id"] for row in listed}
    route = f"/tokens/{credential.credential_id}"
    assert ask(near, route, method="DELETE", token=manager.administrator).status == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"role":"king"}', b'{"role":"viewer","nm":"x"}',
     b'{"role":"viewer","expires_s":-1}',
     b'{"role":"viewer","expires_s":1e300}', b'{"role":"viewer","name":"\\u0000"}', b"\xff", b"[" * 60_000,
     b'{"role":"viewer","name":"' + b"x" * 200 + b'"}'],
)  # fmt: skip
def test_what_is_no_wish_for_a_token_is_400(near: ASGIApp, manager: StandIn, body: bytes) -> None:
    answer = ask(near, "/tokens", method="POST", token=manager.administrator, body=body)
    assert (answer.status, answer.json["code"]) == (400, "bad-request")


def test_a_body_that_is_longer_than_64_kib_is_413(near: ASGIApp, manager: StandIn) -> None:
    body = b'{"role":"viewer"}' + b" " * (64 << 10)
    answer = ask(near, "/tokens", method="POST", token=manager.administrator, body=body)
    assert (answer.status, answer.json["code"]) == (413, "body-too-large")
