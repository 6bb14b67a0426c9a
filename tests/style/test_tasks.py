"""Every task and thread has somebody who learns of its end: nothing is started and forgotten."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vmkiln"
GROUPS = {"TaskGroup", "beside"}
STARTS = {"create_task", "ensure_future", "Thread", "Timer", "run_in_executor", "submit"}
LOOKED_AFTER = {  # where a start is not awaited in its own function, and who learns of its end; this may only shrink
    "lifetime/owned_tasks.py:own": "the task group of the block",
    "fleet/image_builder.py:_start": "_ended, which counts, logs and takes up again",
    "fleet/lease.py:held": "_guarded, which ends the process",
    "fleet/health.py:_asked": "_ask, which answers whatever happens",
    "api/protocol/background.py:reserved": "work, which counts and logs",
    "audit/audit_log.py:_wake_writer": "_write_and_tell, which tells, and the next act starts another",
    "lifetime/last_words.py:end_now": "it only says why, and the process ends whether or not it can",
    "lifetime/last_words.py:end_within": "it only ends the process",
    "cli/view/long_work.py:long_work": "the end of the block, which waits for it; it only tells",
    "waiting/line_writer.py:__init__": "_write_all, which no error ends; how long it writes is told by /readyz",
    "waiting/off_loop.py:_begun": "the pool's futures; its threads wait for one another",
    "host/supervisor.py:accept": "_answer, which answers whatever happens",
    "host/supervisor.py:_answer": "_keep, which tells the end whatever happens",
    "host/namespace.py:opened": "listen, which tells whoever waits that the namespace is lost",
    "host/network/network_setup.py:_begun": "_watch, which tells that the egress leg is lost",
    "notice/mail.py:send_by_mail": "its future, which is waited for with a deadline; then its connection is cut",
    "listener.py:_own": "_told, which logs; when none is taken any more, the listener ends",
    "host/virtual_machine.py:running": "it is in the list that is waited for",
}
FILES = sorted(ROOT.rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, without what is in functions inside it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from own_nodes(child)


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def is_group(argument: ast.arg) -> bool:
    """Whether an argument is a task group, which waits for what is started in it."""
    return argument.annotation is not None and ast.unparse(argument.annotation) == "asyncio.TaskGroup"


def forgotten(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    """The lines of starts whose end this function does not wait for."""
    nodes = list(own_nodes(function))
    starts = [node for node in nodes if isinstance(node, ast.Call) and name_of(node) in STARTS]
    if not starts:
        return []
    groups = {
        item.optional_vars.id
        for node in nodes
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.context_expr, ast.Call)
        and name_of(item.context_expr) in GROUPS
        and isinstance(item.optional_vars, ast.Name)
    }
    groups |= {argument.arg for argument in function.args.args if is_group(argument)}  # a caller's
    awaited = {id(part) for node in nodes if isinstance(node, ast.Await) for part in ast.walk(node)}
    waited_for = {
        part.id
        for node in nodes
        if isinstance(node, ast.Await)
        for part in ast.walk(node)
        if isinstance(part, ast.Name)
    }
    named = {
        id(part): target.id
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
        for part in ast.walk(node.value)
    }
    found = []
    for node in starts:
        owner = (
            node.func.value.id if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) else ""
        )
        if owner in groups or id(node) in awaited or named.get(id(node)) in waited_for:
            continue
        found.append(node.lineno)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_task_or_thread_is_forgotten(file: Path) -> None:
    where = str(file.relative_to(ROOT))
    found = [
        f"{where}:{function.name} (line {line})"
        for function in functions(ast.parse(file.read_text()))
        for line in forgotten(function)
        if f"{where}:{function.name}" not in LOOKED_AFTER
    ]
    assert found == [], "let a block own it (`lifetime/owned_tasks.py`), or await it where it is started"


def test_the_exceptions_are_still_needed() -> None:
    needed = {
        f"{file.relative_to(ROOT)}:{function.name}"
        for file in {ROOT / place.partition(":")[0] for place in LOOKED_AFTER}
        for function in functions(ast.parse(file.read_text()))
        if forgotten(function)
    }
    assert set(LOOKED_AFTER) <= needed
