"""Running tools: without a shell, in the C locale, and never for longer than the deadline."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from storekeeper import errors
from storekeeper.host import commands


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_program_s_output_and_status_are_told_apart() -> None:
    output = commands.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (output.status, output.out, output.err) == (3, b"out\n", b"err\n")


def test_a_program_runs_in_the_c_locale_with_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    output = commands.run(["sh", "-c", "echo $LC_ALL,$LANGUAGE,$PWD; cat"], 10)
    assert output.out == b"C,,/\n"


def test_arguments_are_no_shell_s() -> None:
    assert commands.run(["echo", "$(id); * 'x'"], 10).out == b"$(id); * 'x'\n"


def test_a_program_that_is_not_installed_is_a_missing_tool() -> None:
    with pytest.raises(errors.ToolMissing, match="not installed"):
        commands.run(["no-such-program"], 10)


def test_a_file_that_cannot_be_run_is_a_failed_tool(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    with pytest.raises(errors.ToolFailed, match="cannot be started"):
        commands.run([str(tmp_path / "tool")], 10)


def test_at_the_deadline_the_program_dies_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(errors.TimedOut, match=r"0\.3 s"):
        commands.run(
            ["sh", "-c", f"sleep 3600 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait"], 0.3
        )
    assert time.monotonic() - started < 2
    for name in ("child", "self"):
        pid = int((tmp_path / name).read_text())
        end = time.monotonic() + 5
        while not gone(pid):
            assert time.monotonic() < end
            os.sched_yield()


def test_a_program_that_closes_its_output_and_goes_on_times_out_too() -> None:
    with pytest.raises(errors.TimedOut):
        commands.run(["sh", "-c", "exec >&- 2>&-; sleep 3600"], 0.3)


def test_output_without_end_is_bounded() -> None:
    with pytest.raises(errors.ToolFailed, match="16 MiB"):
        commands.run(["yes"], 30)


def test_much_output_on_both_pipes_does_not_block() -> None:
    output = commands.run(["sh", "-c", "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero"], 30)
    assert (len(output.out), len(output.err)) == (3_000_000, 3_000_000)


def test_no_descriptor_of_ours_reaches_a_program(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        listed = commands.run(["ls", "-l", "/proc/self/fd"], 10).out
    assert b"open" not in listed
