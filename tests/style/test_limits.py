"""docs/limits.md tells every limit of the code with its value, and the code has nothing that grows without one."""

import ast
import operator
import re
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import pytest

from vmkiln.store.tables import metadata

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vmkiln"
PAGE = (ROOT / "docs/limits.md").read_text()
IS_LIMIT = re.compile(
    r"_?(MOST|MAXIMUM|LONGEST|LARGEST)_\w+|ATTEMPTS|TRIES|PAGE|BACKLOG|PARTS_AT_ONCE|FORGOTTEN_AT_ONCE"
    r"|REMEMBERED_\w+|RECENT_\w+|SHOWN_LINES|FRONT|A_FEW|SUCCESSIONS"
)
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "s": 1, "min": 60, "h": 3600}
SCALES = {"_MIB": 2**20, "_GIB": 2**30}
OPERATORS = {
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
Named = tuple[str, str]


def number(node: ast.AST) -> float | None:
    """The value of a constant that is written as a number or worked out from numbers."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = number(node.left), number(node.right)
        if left is not None and right is not None:
            return float(OPERATORS[type(node.op)](left, right))
    return None


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=True):
                    if isinstance(name, ast.Name):
                        yield name.id, value


CONSTANTS: dict[Named, float] = {
    (file, name): value
    for file, tree in TREES.items()
    for name, node in assigned(tree)
    if name.isupper() and (value := number(node)) is not None
}
ROWS = [
    (match["limit"], (match["file"], match["name"]))
    for match in re.finditer(r"^\| [^|]+ \| (?P<limit>[^|]+) \| `(?P<file>\S+\.py)` `(?P<name>\w+)` \|$", PAGE, re.M)
]


def section(title: str) -> list[str]:
    """The rows of a table, without its head."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| `")]


def value_of(limit: str, name: str) -> float:
    """What a cell such as `4 MiB` or `1,000 connections` says, in the constant's own unit."""
    found = re.fullmatch(r"(?P<number>[\d,]+) (?P<unit>\S+)", limit)
    assert found, f"`{limit}` is not a number with a unit"
    scale = next((scale for ending, scale in SCALES.items() if name.endswith(ending)), 1)
    return float(found["number"].replace(",", "")) * UNITS.get(found["unit"], 1) / scale


def test_every_limit_is_on_the_page_once() -> None:
    limits = {named for named in CONSTANTS if IS_LIMIT.fullmatch(named[1])}
    assert len(limits) > 60, "they are found"
    told = [named for _, named in ROWS]
    assert sorted(limits - set(told)) == [], "add a row to docs/limits.md"
    assert sorted(named for named in set(told) if told.count(named) > 1) == []


@pytest.mark.parametrize(("limit", "named"), ROWS, ids=lambda item: item[1] if isinstance(item, tuple) else "")
def test_the_page_has_the_value_of_the_code(limit: str, named: Named) -> None:
    assert named in CONSTANTS, "there is no such constant: correct docs/limits.md"
    assert value_of(limit, named[1]) == CONSTANTS[named]


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or class of one of these names, with its file."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in names:
                    yield file, node


def has(call: ast.Call, keyword: str, *, position: int = 99) -> bool:
    return len(call.args) > position or any(item.arg == keyword for item in call.keywords)


def test_no_queue_is_without_a_limit() -> None:
    found = list(calls("Queue", "LifoQueue", "PriorityQueue", "JoinableQueue"))
    assert [file for file, call in found if not has(call, "maxsize", position=0)] == []
    assert [file for file, _ in calls("SimpleQueue")] == []
    made = [(file, item.value) for file, call in calls("field") for item in call.keywords]
    assert [file for file, value in made if ast.unparse(value).endswith(("Queue", "deque"))] == []


def test_no_pool_is_without_a_limit() -> None:
    found = calls("ThreadPoolExecutor", "ProcessPoolExecutor", "Pool")
    assert [file for file, call in found if not has(call, "max_workers", position=0)] == []


def test_no_buffer_is_without_a_limit_but_those_that_say_theirs() -> None:
    found = {file for file, call in calls("deque") if not has(call, "maxlen", position=1)}
    found |= {file for file, call in calls("bytearray") if not call.args}
    assert found == {row.split("`")[1] for row in section("Buffers without a length")}


def test_every_table_says_on_the_page_what_bounds_it() -> None:
    assert sorted(metadata.tables) == sorted(row.split("`")[1] for row in section("Tables of the database"))


def test_threads_are_begun_only_where_the_page_says_how_many() -> None:
    found = {file for file, _ in calls("Thread", "start_new_thread")}
    assert found == {row.split("`")[1] for row in section("Threads of their own")}


def test_no_cache_keeps_what_a_caller_can_make_different() -> None:
    unbounded = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.args.args or node.args.kwonlyargs):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                unbounded += [f"{file} {node.name}" for mark in marks if re.search(r"\bcache$|maxsize=None", mark)]
    assert unbounded == []


def endless(node: ast.AST, inside: str = "") -> Iterator[str]:
    """The functions with a loop that only something in it ends."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}".lstrip(".")
        if isinstance(child, ast.While) and isinstance(child.test, ast.Constant):
            yield name
        yield from endless(child, name)


def test_endless_loops_say_on_the_page_what_ends_them() -> None:
    found = {(file, name) for file, tree in TREES.items() for name in endless(tree)}
    told = {(row.split("`")[1], row.split("`")[3]) for row in section("Loops that end by themselves")}
    assert sorted(found - told) == [], "give the loop a limit, or say in docs/limits.md what ends it"
    assert sorted(told - found) == []


def test_every_command_has_a_time_limit() -> None:
    """`host/command.py` starts all processes; those it waits for take `timeout_seconds`, which has no default."""
    tree = TREES["host/command.py"]
    [run] = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef) and node.name == "run"]
    names = [argument.arg for argument in run.args.kwonlyargs]
    assert run.args.kw_defaults[names.index("timeout_seconds")] is None


async def test_the_libraries_pools_are_as_large_as_the_page_says() -> None:
    assert "at most 40 threads" in PAGE
    assert anyio.to_thread.current_default_thread_limiter().total_tokens == 40
