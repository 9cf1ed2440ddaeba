"""What goes wrong in the lab, told to a person."""

from __future__ import annotations


class LabError(Exception):
    """Something the lab could not do; the message says what, where and what was printed."""


class ScenarioError(LabError):
    """A scenario file that cannot be used; the message names the key and what to write instead."""
