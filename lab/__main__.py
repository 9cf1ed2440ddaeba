"""`make lab`: builds what each scenario describes, looks, and says whether all was as expected."""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.faults import try_faults, within
from lab.lab import Lab, lab
from lab.reading import read
from lab.shell import shell

RESULTS = Path("build/lab")
_SCENARIOS = Path(__file__).with_name("scenarios")


def _is_as_expected(it: Lab) -> bool:
    """Whether the documents come to be the expected ones; what is not, is said."""
    found: list[str] = []

    def is_whole() -> bool:
        found[:] = it.differences(it.documents())
        return not found

    good, after_s = within(it.scenario.expected.within_s, is_whole, time.monotonic())
    for line in found:
        it.say(f"NOT AS EXPECTED: the document of {line}")
    if good:
        it.say(f"as expected: the document of {', '.join(it.expected)}, after {after_s:.0f} s")
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
    expected = {
        image_storage: json.loads((path.parent / document).read_text(encoding="utf-8"))
        for image_storage, document in scenario.expected.documents.items()
    }
    with _alone(results), lab(scenario, expected, results) as it:
        it.build()
        good = _is_as_expected(it)
        if with_shell:
            shell(it, path)
            return good
        return good and try_faults(it)


def _run_all(scenarios: Sequence[Path], *, with_shell: bool) -> bool:
    good = True
    for path in scenarios:
        print(f"{path}: results in {RESULTS / path.stem}", file=sys.stderr)
        good &= _run(path, RESULTS.resolve() / path.stem, with_shell=with_shell)
    return good


def main() -> int:
    """Exit status 0 when all was as expected, 1 when not, 2 when a lab could not be built."""
    parser = argparse.ArgumentParser(prog="make lab")
    parser.add_argument("scenarios", nargs="*", type=Path, default=sorted(_SCENARIOS.glob("*.toml")))
    parser.add_argument("--shell", action="store_true", help="leave it up, and run commands in the hosts")
    options = parser.parse_args()
    # SIGTERM tears everything down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return 0 if _run_all(options.scenarios, with_shell=options.shell) else 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
