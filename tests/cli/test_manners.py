"""Exit codes, pipes, terminals, Ctrl-C, and how soon it answers."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

from storekeeper import __version__
from storekeeper.cli import COMMANDS, run, storekeeper
from tests.api.standin import StandIn, image, served, storage

COMMAND = str(Path(sys.executable).with_name("storekeeper"))
MANUAL = Path(__file__).parents[2] / "docs/cli.md"
SILENT = "http://127.0.0.1:9"


def on_terminal(*arguments: str, columns: int = 80, environment: dict[str, str] | None = None) -> str:
    """What a person sees on a terminal of so many columns."""
    control, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    with subprocess.Popen(
        [COMMAND, *arguments],
        stdout=terminal,
        stderr=terminal,
        env={**clean, "TERM": "xterm", **(environment or {})},
    ) as program:
        os.close(terminal)
        seen = b""
        while True:
            try:
                piece = os.read(control, 65536)
            except OSError:  # EIO: the terminal's other end was closed
                break
            if not piece:
                break
            seen += piece
        os.close(control)
    assert program.returncode == 0
    return seen.decode().replace("\r\n", "\n")


def piped(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


# --- terminals ----------------------------------------------------------------------------------


def test_a_terminal_gets_colour_and_a_pipe_does_not(manager: str) -> None:
    assert "\x1b[33m! degraded" in on_terminal("storages", "--manager", manager)
    assert "\x1b" not in piped("storages", "--manager", manager).stdout


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(manager: str, variable: dict[str, str]) -> None:
    seen = on_terminal("storages", "--manager", manager, environment=variable)
    assert "\x1b" not in seen
    assert "! degraded" in seen


def test_a_table_fits_the_terminal_and_is_cut_nowhere_else() -> None:
    name = "templates/windows-11-enterprise-with-everything-that-sales-asked-for/disk.qcow2"
    images = {name: image(name, guests=("a-desktop-with-a-long-name-too",))}
    with served(StandIn({"internal": storage(images)})) as url:
        arguments = ("images", "--manager", url)
        for columns in (80, 70, 100):
            seen = on_terminal(*arguments, columns=columns)
            assert max(map(len, seen.splitlines())) <= columns
            assert "…" in seen
        assert max(map(len, on_terminal(*arguments, environment={"COLUMNS": "70"}).splitlines())) <= 70
        assert name in piped(*arguments).stdout
        assert name in on_terminal("images", "--json", "--manager", url)


# --- pipes and signals --------------------------------------------------------------------------


def test_a_reader_that_leaves_early_is_no_error() -> None:
    names = [f"desktop_{number:05}.qcow2" for number in range(5000)]
    with served(StandIn({"internal": storage({name: image(name) for name in names})})) as url:
        line = f"{COMMAND} images --manager {url} --format jsonl | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "0"


def test_ctrl_c_ends_it_with_130_and_without_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with subprocess.Popen(
            [COMMAND, "storages", "--manager", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            connection, _ = mute.accept()
            connection.recv(1)
            program.send_signal(signal.SIGINT)
            said = program.communicate(timeout=20)
            connection.close()
    assert program.returncode == 130
    assert said == ("", "")


# --- exit codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("show internl", 4, "No image storage 'internl'. Did you mean 'internal'?"),
        ("image coruss", 4, "No image 'coruss'. Did you mean 'corus'?"),
        ("images nope", 4, "No image storage 'nope'."),
        ("show", 2, "Which image storage? There is: internal, lab."),
        ("images internal --where colour=red", 2, "Fields: image_id"),
        ("images internal --columns colour", 2, "no column 'colour'"),
        ("images internal --sort colour", 2, "no column 'colour'"),
        ("images internal --format xml", 2, "'xml' is not one of"),
        ("shwo", 2, "Did you mean 'show'?"),
        ("storages --colour", 2, "No such option"),
    ],
)
def test_an_error_names_the_thing_and_the_next_step(
    arguments: str, code: int, sentence: str, manager: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments.split(), "--manager", manager]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["storages", "--manager", SILENT],
            3,
            "No manager answers at http://127.0.0.1:9: Connection refused.",
        ),
        (["storages", "--manager", "127.0.0.1:8017"], 2, "write http://127.0.0.1:8017"),
        (["storages", "--manager", "http://h:port"], 2, "write http://127.0.0.1:8017"),
        (["probe", "imagse"], 4, "Did you mean 'images'?"),
        (["probe", "images"], 2, "storekeeper probe images PATH"),
        (["probe", "disks", "/srv"], 2, "looks at the whole host"),
        (["scan", "--config", "/none.toml"], 2, "/none.toml cannot be read: No such file or directory."),
        (["scan", "--captured", "/none"], 2, "/none is no capture"),
        (["config", "check", "/none.toml"], 2, "/none.toml cannot be read"),
    ],
)
def test_what_cannot_be_done_says_why(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err


def test_a_manager_that_still_starts_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with served(StandIn(ready=False)) as url:
        assert run(["storages", "--manager", url]) == 3
    assert "just started" in capsys.readouterr().err


def test_what_answers_but_is_no_manager_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with subprocess.Popen([COMMAND, "storages", "--manager", url], stderr=subprocess.PIPE) as program:
            connection, _ = other.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            connection.close()
            _, said = program.communicate(timeout=20)
    assert program.returncode == 3
    assert b"No manager answers at" in said


def test_the_manager_may_be_named_by_the_environment(
    small_manager: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOREKEEPER_MANAGER", small_manager)
    assert run(["show"]) == 0
    assert capsys.readouterr().out.startswith("internal  ok")


# --- declarations -------------------------------------------------------------------------------


def test_config_check_says_everything_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "storekeeper.toml"
    file.write_text('[manager]\nlisten = "nas:80"\n[image_storages.a]\nhosts = ["h"]\ncolour = 1\n')
    assert run(["config", "check", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [
        "manager.listen",
        "image_storages.a.colour",
    ]
    file.write_text('[image_storages.a]\nhosts = ["h"]\n')
    assert run(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: nothing is wrong with it.\n"


def test_a_declaration_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "storekeeper.toml"
    file.write_bytes(b"\xff\xfe")
    assert run(["scan", "--config", str(file)]) == 2
    assert f"{file}: it is not UTF-8" in capsys.readouterr().err


# --- how soon -----------------------------------------------------------------------------------


def within(limit_s: float, *arguments: str) -> bool:
    """Whether one of some runs is as quick: what other programs of this machine take is not its doing."""
    for _ in range(20):
        began = time.perf_counter()
        assert piped(*arguments).returncode == 0
        if time.perf_counter() - began < limit_s:
            return True
    return False


def test_the_version_is_there_within_150_ms() -> None:
    assert piped("--version").stdout == f"storekeeper {__version__}\n"
    assert within(0.150, "--version")


def test_a_query_is_there_within_300_ms(small_manager: str) -> None:
    assert within(0.300, "show", "--manager", small_manager)


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--version"], ["msgspec", "http.client", "storekeeper.client", "rich"]),
        (
            ["show", "--columns", "help"],
            ["litestar", "uvicorn", "rich", "structlog", "storekeeper.sources"],
        ),
    ],
)
def test_what_a_command_does_not_need_is_not_imported(
    arguments: list[str], unneeded: list[str], small_manager: str
) -> None:
    code = f"from storekeeper.cli import run, sys; run({arguments!r}); print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "STOREKEEPER_MANAGER": small_manager}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert not set(unneeded) & set(done.stderr.split())


# --- the manual ---------------------------------------------------------------------------------


def test_every_command_has_a_section_in_the_manual_and_help_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = MANUAL.read_text(encoding="utf-8")
    titles = re.findall(r"^## `storekeeper ([a-z]+)", text, re.MULTILINE)
    assert sorted(titles) == sorted(COMMANDS)
    context = storekeeper.make_context("storekeeper", ["storages"])
    for name in COMMANDS:
        command = storekeeper.get_command(context, name)
        assert command is not None
        assert command.help, name
        for option in command.params:
            for spelled in option.opts:
                if spelled.startswith("-"):
                    assert f"`{spelled}" in text, f"{name} {spelled} is not in the manual"
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.split("Commands:\n")[1].splitlines()] == list(COMMANDS)


def test_the_manual_has_every_exit_code() -> None:
    from storekeeper import errors

    text = MANUAL.read_text(encoding="utf-8")
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == codes | {130}
