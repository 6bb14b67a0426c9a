"""The names of tests are promises that one can read: in a line of a terminal, and each once in its file."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
MOST_LETTERS = 72  # with pytest's word before it, a line of 80 columns


@cache
def names() -> dict[Path, list[str]]:
    """The tests of each file, in order."""
    return {
        path.relative_to(TESTS): [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        for path in sorted(TESTS.rglob("test_*.py"))
    }


def test_the_name_of_a_test_fits_a_line_of_a_terminal() -> None:
    found = names()
    assert sum(len(tests) for tests in found.values()) > 1000
    assert [f"{path}::{name}" for path, tests in found.items() for name in tests if len(name) > MOST_LETTERS] == []


def test_no_test_hides_another_one_of_the_same_name() -> None:
    twice = {path: [name for name, count in Counter(tests).items() if count > 1] for path, tests in names().items()}
    assert {path: tests for path, tests in twice.items() if tests} == {}


def test_no_two_test_modules_have_one_name() -> None:
    """Pytest would import one of them for the other, and refuse to begin when both are asked for."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
