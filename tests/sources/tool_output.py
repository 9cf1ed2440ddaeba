"""What real tools printed, kept in `captured_output/`: the command, its exit status, its standard output.

    $ gluster --mode=script volume info --xml
    exit status 0
    <?xml ...

`tests/real/capture_tool_output.py` makes the files anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storekeeper.sources.contract import Output

_DIRECTORY = Path(__file__).with_name("captured_output")


def save(name: str, argv: Sequence[str], status: int, out: str) -> None:
    """Keeps what a command printed under `name` (`gluster/info-degraded`)."""
    path = _DIRECTORY / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"$ {' '.join(argv)}\nexit status {status}\n{out}", encoding="utf-8")


def load(name: str) -> Output:
    """What the command of that name printed."""
    _, status, out = (_DIRECTORY / f"{name}.txt").read_bytes().split(b"\n", 2)
    return Output(status=int(status.removeprefix(b"exit status ")), out=out, err=b"")


def names(directory: str) -> list[str]:
    """The names of all that was captured of one tool."""
    return sorted(f"{directory}/{path.stem}" for path in (_DIRECTORY / directory).glob("*.txt"))
