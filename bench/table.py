"""Figures as they are printed: a name, our value, the peer's, their ratio, the aim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from time import perf_counter
from typing import NamedTuple

_WIDTHS = (60, 20, 20, 6, 0)


class Figure(NamedTuple):
    """One line. `ratio` is ours over the peer's (or as `what` says); `aim` is what it should be."""

    what: str
    ours: str
    peer: str
    ratio: float | None
    aim: str


def seconds(work: Callable[[], object]) -> float:
    """The seconds that one call takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def paired(ours: Callable[[], float], peer: Callable[[], float], runs: int) -> tuple[float, float, float]:
    """Medians of both, and of their ratio, of `runs` runs in turn: a drift of the machine cancels out."""
    pairs = [(ours(), peer()) for _ in range(runs)]
    return (
        median(ours_s for ours_s, _ in pairs),
        median(peer_s for _, peer_s in pairs),
        median(ours_s / peer_s for ours_s, peer_s in pairs),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value under which this share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(figures: Iterable[Figure]) -> None:
    """Prints each line in columns as soon as it is measured."""
    _print("", "storekeeper", "peer", "ratio", "aim")
    for each in figures:
        ratio = "" if each.ratio is None else f"{each.ratio:.{2 if each.ratio >= 0.1 else 4}f}"
        _print(each.what, each.ours, each.peer, ratio, each.aim)


def _print(*cells: str) -> None:
    print(
        "  ".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip(), flush=True
    )
