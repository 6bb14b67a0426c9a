"""No coroutine calls what blocks: read from the code, so also where no test comes by (`tests/blocking_calls.py`)."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "vmkiln"
DATABASE = {"store", "_store"}
HARMLESS = {"fenced", "now"}  # of the store: they ask no database
MODULES = {"shutil", "tempfile"}
METHODS = {
    "chmod",
    "copyfile",
    "glob",
    "hardlink_to",
    "iterdir",
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "rglob",
    "rmdir",
    "rmtree",
    "touch",
    "unlink",
    "write_bytes",
    "write_text",
}
FUNCTIONS = {"make_folder", "open", "seal", "sha256_of", "sync", "write_whole"}
QUICK = {"which"}  # of a few folders' entries, which the kernel has in memory
SERVING_COMMANDS = ("cli/commands/serve.py", "cli/commands/worker.py")


def calls_in(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """The calls of a coroutine itself, and not of functions within it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield node
        pending += ast.iter_child_nodes(node)


def dotted(function: ast.expr) -> list[str]:
    """The names of `a.b.c`; of what is called on the result of a call, the names behind it."""
    names: list[str] = []
    while isinstance(function, ast.Attribute):
        names.insert(0, function.attr)
        function = function.value
    return [function.id, *names] if isinstance(function, ast.Name) else ["", *names]


def is_blocking(call: ast.Call) -> bool:
    """Whether a call is one of those that block, by its name."""
    names = dotted(call.func)
    if len(names) == 1:
        return names[0] in FUNCTIONS
    if DATABASE & set(names[:-1]):
        return names[-1] not in HARMLESS
    return (names[-1] in METHODS or names[0] in MODULES) and names[-1] not in QUICK


def blocking_calls(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    return [
        f"{path.relative_to(ROOT)}:{call.lineno} {ast.unparse(call)[:80]}"
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
        for call in calls_in(function)
        if is_blocking(call) and id(call) not in awaited
    ]


def test_no_coroutine_calls_what_blocks() -> None:
    # a command has its loop for itself, but for those that serve
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "cli"]
    files += [ROOT / name for name in SERVING_COMMANDS]
    assert len(files) > 100
    assert [call for path in files for call in blocking_calls(path)] == []
