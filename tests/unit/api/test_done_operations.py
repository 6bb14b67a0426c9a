"""An operation that is done when its request is answered is recorded as done: a kill leaves none open for ever."""

import ast
from pathlib import Path

from vmkiln.store.database import opened

API = Path(__file__).parents[3] / "vmkiln/api"


def test_a_done_operation_is_never_open(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        done = store.operations.begin("update", subscription_id="S", location="here", resource_id="/x", is_done=True)
        found = store.operations.get(done.operation_id)
        assert found is not None
        assert (found.status, found.ended) == ("Succeeded", found.started)
        assert store.operations.open_ones() == []


def test_no_request_records_a_begin_and_an_end_one_after_the_other() -> None:
    both = []
    for file in API.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
                if "operations.begin" in calls and any(call.endswith("operations.end") for call in calls):
                    both.append(f"{file.name} {node.name}")
    assert both == []
