"""The words of every error, mistake, notice and finding of doctor as the code has them, and how an error is shown."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

import vmkiln
from vmkiln import errors
from vmkiln.cli.main import report
from vmkiln.errors import CommandFailed, Mistake, TemplateInvalid, VmkilnError

ROOT = Path(vmkiln.__file__).parent


def kinds() -> list[type[VmkilnError]]:
    """Every kind of error of the product, in the order of their names."""
    for module in pkgutil.walk_packages([str(ROOT)], "vmkiln."):
        if "__main__" not in module.name and ".migrations." not in module.name:
            importlib.import_module(module.name)
    found = {VmkilnError}
    while more := {kind for known in found for kind in known.__subclasses__()} - found:
        found |= more
    return sorted((kind for kind in found if kind.__module__.startswith("vmkiln.")), key=lambda kind: kind.__name__)


KINDS = kinds()
NAMES = {kind.__name__ for kind in KINDS} | {"Mistake", "CodedMistake", "Finding", "Notice"}

FILLED_IN = "{…}"  # a value: what it is called in the code is nothing that a user reads


def words_of(node: ast.expr) -> str | None:
    """The text that an argument has, with `FILLED_IN` where something is filled in; nothing for what is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(words_of(part) or FILLED_IN for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if words_of(left) or words_of(right):
            return "".join(words_of(side) or FILLED_IN for side in (left, right))
        case ast.IfExp(body=body, orelse=other) if words_of(body) or words_of(other):
            return f"{words_of(body) or FILLED_IN} | {words_of(other) or FILLED_IN}"
    return None


def raised(path: Path) -> Iterator[str]:
    """Each error, mistake, notice or finding that a module makes, as its texts stand there."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in NAMES:
                texts = [words for argument in node.args if (words := words_of(argument))]
                texts += [f"{keyword.arg}: {words}" for keyword in node.keywords if (words := words_of(keyword.value))]
                if texts:
                    yield "\n    ".join([name, *texts])


def test_every_kind_of_error_keeps_its_code(snapshot: SnapshotAssertion) -> None:
    lines = [f"{kind.__name__}: {kind.code}, exit code {kind.exit_code}" for kind in KINDS]
    assert all(inspect.getdoc(kind) for kind in KINDS)
    assert "\n".join(lines) == snapshot


def test_the_tree_at_the_top_of_the_errors_has_every_kind() -> None:
    above: list[str] = []
    told = {}
    for line in str(errors.__doc__).splitlines():
        if found := re.match(r"((?:│   |    )*(?:├── |└── )?)(\w+)  ", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            told[found[2]] = above[depth - 1] if depth else "Exception"
    assert told == {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}


def test_every_message_and_hint_reads_as_it_did(snapshot: SnapshotAssertion) -> None:
    found = sorted({text for path in ROOT.rglob("*.py") for text in raised(path)})
    assert len(found) > 300
    assert "\n".join(found) == snapshot


def test_messages_keep_to_the_page_on_messages() -> None:
    """docs/style/messages.md; the service's own refusals have Azure's words, which do not."""
    not_ours = {"ArmError", "CodedMistake"}
    texts = [text.split("\n    ") for path in ROOT.rglob("*.py") for text in raised(path)]
    words = [word for kind, *words in texts if kind not in not_ours for word in words]
    assert len(words) > 300
    assert [word for word in words if word.endswith((".", "!")) and not word.endswith("...")] == []
    assert [word for word in words if re.search(r"\b(please|oops|sorry)\b", word, re.IGNORECASE)] == []


@pytest.mark.parametrize(
    "error",
    [
        VmkilnError("a thing went wrong", hint="do another thing"),
        TemplateInvalid([Mistake("properties.source", "is missing"), Mistake("location", "is empty", "give a region")]),
        CommandFailed(["qemu-img", "info"], exit_status=1, output="no such file", reason="ended with exit status 1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_printed_with_its_hint(
    error: VmkilnError, snapshot: SnapshotAssertion, capsys: pytest.CaptureFixture[str]
) -> None:
    status = report(error)
    assert f"{capsys.readouterr().err}exit code {status}" == snapshot
