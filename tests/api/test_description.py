"""OpenAPI describes every route and loads nothing; the manual names every route."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from litestar.types import ASGIApp

from storekeeper import __version__
from storekeeper.api import create_app
from storekeeper.document import ImageDetail
from tests.api.standin import StandIn, ask

MANUAL = Path(__file__).parents[2] / "docs/api.md"
METHODS = ("get", "post", "put", "delete")
# A route in the manual: a section of its own, or a row of a table.
IN_THE_MANUAL = re.compile(r"^(?:## |\| )`((?:GET|POST|PUT|DELETE) \S+)`", re.MULTILINE)
READING = {
    "GET /imagestorages",
    "GET /imagestorages/{image_storage_id}",
    "GET /imagestorages/{image_storage_id}/images",
    "GET /imagestorages/{image_storage_id}/volumes/{volume_id}/images/{image_id}",
    "GET /imagestorages/{image_storage_id}/disks",
    "GET /imagestorages/{image_storage_id}/events",
    "GET /hosts",
    "GET /hosts/{host_id}",
    "GET /guests",
    "GET /guests/{guest_id}",
    "GET /healthz",
    "GET /managerinfo",
    "GET /declaration",
}


def operations(description: Any) -> dict[str, Any]:
    """What is described, by method and path."""
    return {
        f"{method.upper()} {path}": item[method]
        for path, item in description["paths"].items()
        for method in METHODS
        if method in item
    }


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    return create_app(StandIn(), "flexdev01")


@pytest.mark.parametrize("path", ["/schema", "/schema/", "/schema/openapi.json"])
def test_the_description_has_the_routes(app: ASGIApp, path: str) -> None:
    answer = ask(app, path)
    assert answer.headers["content-type"] == "application/json"
    assert operations(answer.json).keys() >= READING


def test_no_page_names_another_host(app: ASGIApp) -> None:
    assert b"://" not in ask(app, "/schema").body


def test_every_operation_says_what_it_answers_and_how_it_fails(app: ASGIApp) -> None:
    description = ask(app, "/schema/openapi.json").json
    for route, operation in operations(description).items():
        assert operation["description"], route
        assert {"200", "201"} & operation["responses"].keys(), route
        if "{" in route:
            error = operation["responses"]["404"]["content"]["application/json"]["schema"]
            assert error["$ref"].endswith("/ErrorMessage")


def test_the_parameters_of_a_list_are_its_fields(app: ASGIApp) -> None:
    item = ask(app, "/schema/openapi.json").json["paths"]["/imagestorages/{image_storage_id}/images"]
    names = {parameter["name"] for parameter in item["get"]["parameters"] if parameter["in"] == "query"}
    assert names == {"limit", "after", "sort", "fields", *get_type_hints(ImageDetail)}


def test_the_manual_has_every_route_but_the_agents_own(app: ASGIApp) -> None:
    described = {
        route for route in operations(ask(app, "/schema/openapi.json").json) if " /agents/" not in route
    }
    written = set(IN_THE_MANUAL.findall(MANUAL.read_text(encoding="utf-8")))
    assert written == described | {"GET /schema/openapi.json"}


def test_the_manual_names_every_error_code_that_the_api_answers_with() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    for code in ("bad-request", "refused", "not-found", "method-not-allowed", "not-acceptable", "too-large",
                 "internal", "not-known", "not-authenticated", "conflict", "bad-declaration"):  # fmt: skip
        assert f"`{code}`" in text


def test_the_manager_says_which_version_it_is_in_parts_that_are_texts(app: ASGIApp) -> None:
    info = ask(app, "/managerinfo").json
    version = info["version"]
    assert f"{version['major']}.{version['minor']}.{version['release']}" == __version__
    assert info["manager_id"] == "flexdev01"
    assert "imagestorages" in info["capabilities"]


def test_a_manager_that_can_answer_is_healthy(app: ASGIApp) -> None:
    answer = ask(app, "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "OK", "message": ""})
