"""A manager to ask: a storage that is degraded, one that nobody reports, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.standin import HOME, StandIn, served, storage

NOT_MOUNTED = "home_flexvdi is not mounted on flexdev02 since 2026-01-02 08:12 UTC."


@pytest.fixture(scope="session")
def manager() -> Iterator[str]:
    """The URL of a manager with the storages `internal` and `lab`."""
    storages = {
        "internal": storage(HOME, status="degraded", status_msg=NOT_MOUNTED),
        "lab": storage({}, "lab", status="unknown", status_msg="No report from h1."),
    }
    with served(StandIn(storages)) as url:
        yield url


@pytest.fixture(scope="session")
def small_manager() -> Iterator[str]:
    """The URL of a manager with one storage only."""
    with served(StandIn()) as url:
        yield url
