"""`make lab-shell`: a prompt that runs commands in the hosts, until the person has seen enough."""

from __future__ import annotations

from lab.errors import LabError
from lab.lab import Lab


def shell(lab: Lab) -> None:
    """Reads `HOST COMMAND` lines until the end of input."""
    print(f"\nHOST COMMAND runs a command in a host; hosts: {', '.join(lab.hosts)}. Ctrl-D ends the lab.\n")
    print(f"The manager: {lab.manager.url}/hosts, with the token in {lab.manager.token_file}\n")
    print(f"Consoles, logs and the document: {lab.results}\n")
    while True:
        try:
            line = input("lab> ").strip()
        except EOFError:
            return
        name, _, command = line.partition(" ")
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
