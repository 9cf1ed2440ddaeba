"""`make lab`: builds what a scenario describes, looks, and says whether all was as expected."""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.faults import try_faults, within
from lab.lab import Lab, lab
from lab.scenario import read
from lab.shell import shell

RESULTS = Path("build/lab")
_DEFAULT = Path(__file__).with_name("scenarios") / "seed-example.toml"


def _is_as_expected(it: Lab) -> bool:
    """Whether the document comes to be the expected one; what is not, is said."""
    expected = it.scenario.expected
    found: list[str] = []

    def is_whole() -> bool:
        found[:] = it.differences(it.document())
        return not found

    good, after_s = within(expected.within_s, is_whole)
    for line in found:
        it.say(f"NOT AS EXPECTED: the document of {expected.image_storage}: {line}")
    if good:
        it.say(f"as expected: the document of {expected.image_storage}, after {after_s:.0f} s")
    return good


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """The directory of results, empty, for one lab at a time."""
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"another lab runs with {results}; stop it first") from error
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        yield


def _run(path: Path, results: Path, *, with_shell: bool) -> bool:
    scenario = read(path)
    expected = json.loads((path.parent / scenario.expected.document).read_text(encoding="utf-8"))
    with _alone(results), lab(scenario, expected, results) as it:
        it.build()
        good = _is_as_expected(it)
        if with_shell:
            shell(it)
            return good
        return good and try_faults(it)


def main() -> int:
    """Exit status 0 when all was as expected, 1 when not, 2 when the lab could not be built."""
    parser = argparse.ArgumentParser(prog="make lab")
    parser.add_argument("scenario", nargs="?", type=Path, default=_DEFAULT)
    parser.add_argument("--shell", action="store_true", help="leave it up, and run commands in the hosts")
    options = parser.parse_args()
    # SIGTERM tears everything down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return 0 if _run(options.scenario, RESULTS.resolve(), with_shell=options.shell) else 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
