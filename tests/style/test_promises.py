"""Every promise of docs/promises.md names tests that exist and are collected."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from style.markdown import ROOT, prose

ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in prose(ROOT / "docs/promises.md")
    if line.startswith("| ") and not line.startswith("| promise")
]
NAMED = re.compile(r"`((?:tests|bench)/[\w/.-]*)(?:::(\w+))?`|`(test_\w+)`")


@cache
def collected(path: Path) -> frozenset[str]:
    """The names of the tests that pytest finds in a file."""
    body = ast.parse(path.read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    nodes = [*body, *(node for found in classes for node in found.body)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_the_page_is_a_table_of_promises_and_tests() -> None:
    assert len(ROWS) > 80
    assert [row for row in ROWS if len(row) != 2] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0])[:60])
def test_a_promise_names_tests_that_exist(row: list[str]) -> None:
    _promise, held_by = row
    files: list[Path] = []
    names = NAMED.findall(held_by)
    assert names or "*not yet*" in held_by or "marked `vm`" in held_by, "no test is named"
    for file, function, alone in names:
        if file:
            path = ROOT / file
            assert path.exists(), f"there is no {file}"
            files = [*files, path]
            if path.is_dir():
                assert any(collected(test) for test in path.rglob("test_*.py")), f"{file} has no test"
            elif path.name.startswith("test_"):
                assert collected(path), f"{file} has no test"
        if function or alone:
            assert any(
                (function or alone) in collected(path)
                for path in (files[-1:] if function else files)
                if path.suffix == ".py"
            ), f"there is no test {function or alone}"
