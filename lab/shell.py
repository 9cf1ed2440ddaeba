"""`make lab-shell`: a prompt that runs commands in the hosts, until the person has seen enough."""

from __future__ import annotations

from pathlib import Path

from lab.errors import LabError
from lab.faults import together, try_together
from lab.lab import Lab
from lab.reading import read


def shell(lab: Lab, path: Path) -> None:
    """Reads lines until the end of input: `HOST COMMAND`, or `try TEXT` for faults by their names."""
    print(f"\nHOST COMMAND runs a command in a host; hosts: {', '.join(lab.hosts)}. Ctrl-D ends the lab.\n")
    print(f"try TEXT tries the faults of {path}, read anew: by a part of a name, or a `together`.\n")
    print(f"The manager: {lab.manager.url}/hosts, with the token in {lab.manager.token_file}\n")
    print(f"Consoles, logs and the document: {lab.results}\n")
    while True:
        try:
            line = input("lab> ").strip()
        except EOFError:
            return
        name, _, command = line.partition(" ")
        if name == "try" and command:
            _try(lab, path, command)
            continue
        if name not in lab.hosts or not command:
            print(f"HOST COMMAND, such as: {next(iter(lab.hosts))} lsblk")
            continue
        try:
            ran = lab.hosts[name].guest.try_run(command)
        except LabError as error:
            print(error)
            continue
        print(ran.output, end="" if ran.output.endswith("\n") else "\n")
        if ran.status:
            print(f"exit status {ran.status}")


def _try(lab: Lab, path: Path, text: str) -> None:
    try:
        wanted = (fault for fault in read(path).faults if text in fault.name or text == fault.together)
        for faults in together(wanted):
            try_together(lab, faults)
    except LabError as error:
        print(error)
