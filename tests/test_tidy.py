"""What holds of every module, so that nobody has to remember it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "src/storekeeper").rglob("*.py"))
LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 70
# Names that attract everything that has no place of its own.
NOUNS_THAT_ARE_NONE = {"util", "utils", "helper", "helpers", "common", "misc"}

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))


@each_module
def test_a_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


@each_module
def test_a_module_is_one_thing(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_MODULE
    assert module.stem not in NOUNS_THAT_ARE_NONE


@each_module
def test_a_function_is_one_thing(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"


@each_module
def test_no_error_is_passed_over_in_silence(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
            line = module.read_text(encoding="utf-8").splitlines()[node.body[0].lineno - 1]
            assert "#" in line, f"line {node.body[0].lineno}: say why"
