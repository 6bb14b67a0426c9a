"""What commands print about what is there: for people as tables, for programs as JSON."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

ROOT = Path(__file__).parents[2]
RUN, FAILED = "0123abcd", "4567cdef"
COMMANDS = (
    ("run", "list"),
    ("run", "show", RUN),
    ("run", "show", FAILED),
    ("run", "receipts", RUN),
    ("history",),
    ("history", "--by-template"),
    ("staging", "list"),
    ("staging", "show", "IT_rg"),
    ("image", "list"),
    ("image", "show", "web"),
    ("host", "list"),
    ("host", "show", "build-2"),
    ("principal", "list"),
    ("role", "list"),
    ("settings",),
    ("context", "list"),
)
LISTS = (
    ("run", "list"),
    ("run", "prune"),
    ("history",),
    ("image", "list"),
    ("image", "quarantine"),
    ("cache", "list"),
    ("cache", "prune"),
    ("staging", "list"),
    ("template", "list"),
    ("principal", "list"),
    ("role", "list"),
    ("context", "list"),
)
WORDS_ONLY = (("run", "logs", RUN), ("image", "catalogue"))
REFUSED = (
    ("run", "show", "ffff"),
    ("run", "logs", FAILED),
    ("image", "show", "nothing"),
    ("host", "show", "nobody"),
    ("staging", "boot", "IT_rg"),
    ("role", "assign", "Reader", "x"),
    ("role", "assign", "King", "x", "--scope", "/"),
    ("validate", "no-such-file.json"),
)
MISTAKEN = {
    "location": "westus2",
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "customize": [{"type": "Shell", "inline": ["true"], "scriptUri": "https://example.org/x"}, {"type": "Sh"}],
        "distribute": [{"type": "VHD", "runOutputName": "not a name"}],
        "buildTimeoutInMinutes": 3,
    },
}
Shown = Callable[..., str]


def of_words(words: tuple[str, ...]) -> str:
    return " ".join(words)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("words", [*COMMANDS, *WORDS_ONLY], ids=of_words)
def test_a_table_reads_as_it_did(words: tuple[str, ...], shown: Shown, snapshot: SnapshotAssertion) -> None:
    assert shown(*words) == snapshot


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("words", COMMANDS, ids=of_words)
def test_json_has_the_members_it_had(words: tuple[str, ...], shown: Shown, snapshot: SnapshotAssertion) -> None:
    printed, _, status = shown(*words, "--json").rpartition("exit code ")
    assert status == "0"
    assert json.dumps(json.loads(re.sub("<seconds since 1970>", "0", printed)), indent=2) == snapshot


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("words", REFUSED, ids=of_words)
def test_a_refusal_reads_as_it_did(words: tuple[str, ...], shown: Shown, snapshot: SnapshotAssertion) -> None:
    assert shown(*words) == snapshot


@pytest.mark.parametrize("words", [*LISTS, ("run", "show")], ids=of_words)
def test_an_empty_state_reads_as_it_did(words: tuple[str, ...], shown: Shown, snapshot: SnapshotAssertion) -> None:
    text = shown(*words)
    assert len(text.splitlines()) > 1, "a list without anything says so, and what puts something into it"
    assert text == snapshot


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_mistakes_of_a_template_read_as_they_did(
    as_json: bool, shown: Shown, snapshot: SnapshotAssertion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "template.json").write_text(json.dumps(MISTAKEN))
    monkeypatch.chdir(tmp_path)
    assert shown("validate", "template.json", *(["--json"] if as_json else [])) == snapshot


def test_a_plan_reads_as_it_did(shown: Shown, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    asked = ("plan", "examples/hello-linux/template.json", "--allow-local-files")
    assert shown(*asked) == snapshot(name="text")
    printed, _, status = shown(*asked, "--json").rpartition("exit code ")
    assert status == "0"
    plan = json.loads(printed)
    shape = {name: sorted(value) if isinstance(value, dict) else type(value).__name__ for name, value in plan.items()}
    assert json.dumps(shape, indent=2) == snapshot(name="members")
