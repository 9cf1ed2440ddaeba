"""What every source keeps to: a new row of SOURCES is tested by being there."""

from __future__ import annotations

import pkgutil
from typing import NoReturn, cast

import pytest

from storekeeper import sources
from storekeeper.errors import Denied, HostError, NotCaptured, TimedOut, Unreadable
from storekeeper.observation import Seen
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Host, Scope, Source

ROWS = [pytest.param(row, id=row.name) for row in SOURCES.values()]


class DeadHost:
    """Every question fails."""

    name = "dead"

    def __init__(self, error: type[HostError]) -> None:
        self._error = error

    def __getattr__(self, question: str) -> object:
        def fail(subject: object = "", *_: object, **__: object) -> NoReturn:
            raise self._error(str(subject), "does not answer")

        return fail


def ask(source: Source, error: type[HostError], last: Seen | None = None) -> Seen:
    key = "storage/volume" if source.of == "volume" else ""
    scope = Scope(key=key, root="/srv/volume" if key else "")
    return source.probe(cast("Host", DeadHost(error)), scope, last)


@pytest.mark.parametrize("source", ROWS)
@pytest.mark.parametrize("error", [Unreadable, Denied, TimedOut, NotCaptured])
def test_a_host_that_does_not_answer_is_a_fault_and_never_an_empty_list(
    source: Source, error: type[HostError]
) -> None:
    seen = ask(source, error)
    assert seen.blind is not None
    assert seen.blind.code == error.code
    assert "does not answer" in seen.blind.text
    assert seen.facts == {}
    assert (seen.source, seen.scope) == (source.name, "storage/volume" if source.of == "volume" else "")


@pytest.mark.parametrize("source", ROWS)
def test_a_row_is_whole(source: Source) -> None:
    assert SOURCES[source.name] is source
    assert source.deadline_s > 0
    assert source.every_s > 0
    assert set(source.wakes) <= SOURCES.keys()
    assert source.name in {module.name for module in pkgutil.iter_modules(sources.__path__)}
