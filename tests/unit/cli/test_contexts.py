"""Contexts: kept privately, one in use, nothing secret shown."""

import stat
from pathlib import Path

import pytest

from vmkiln.cli.contexts import Context, Contexts, contexts_file, read_contexts, write_contexts
from vmkiln.cli.main import main
from vmkiln.errors import InputError

ONE = Context("https://one", authority="pem", app_id="a", secret="s3cret-one")
TWO = Context("https://two", token="vmk_token-two")


def test_contexts_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "config" / "vmkiln" / "contexts.json"
    contexts = Contexts().with_context("one", ONE).with_context("two", TWO)
    write_contexts(path, contexts)
    assert read_contexts(path) == contexts
    assert contexts.in_use == TWO


def test_only_their_owner_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "vmkiln" / "contexts.json"
    write_contexts(path, Contexts().with_context("one", ONE))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_forgetting_the_one_in_use_leaves_none_in_use() -> None:
    contexts = Contexts().with_context("one", ONE).with_context("two", TWO)
    assert contexts.without("two") == Contexts("", {"one": ONE})
    assert contexts.without("one").in_use == TWO
    assert contexts.used("one").in_use == ONE
    assert contexts.used("").in_use is None


@pytest.mark.parametrize(
    "words", [["run", "list"], ["history"], ["host", "list"], ["image", "list"], ["staging", "list"], ["run", "show"]]
)
def test_who_has_logged_in_elsewhere_is_told_that_this_machine_was_asked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One looked for the runs of a service with `vmkiln run list`, and read that there was none."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for contexts, is_told in ((Contexts().with_context("far", TWO), True), (Contexts("", {"far": TWO}), False)):
        write_contexts(contexts_file({"XDG_CONFIG_HOME": str(tmp_path)}), contexts)
        with pytest.raises(SystemExit):
            main(words)
        said = capfd.readouterr().err
        assert ("ask the service of the context `far`" in said) is is_told, said


def test_an_unknown_context_is_named_with_those_there_are() -> None:
    contexts = Contexts().with_context("one", ONE)
    for wrong in (contexts.find, contexts.used, contexts.without):
        with pytest.raises(InputError, match="no context `other`") as caught:
            wrong("other")
        assert "one" in str(caught.value.hint)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"current": "", "contexts": {"x": {"other": 1}}}', '{"current": "", "contexts": []}']
)
def test_a_file_that_is_no_list_of_contexts_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "contexts.json"
    path.write_text(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_contexts(path)


def test_secrets_are_not_in_a_contexts_text() -> None:
    assert "s3cret-one" not in repr(Contexts().with_context("one", ONE))
    assert "vmk_token-two" not in repr(TWO)


def test_they_lie_in_the_users_configuration() -> None:
    assert contexts_file({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/vmkiln/contexts.json")
    assert contexts_file({"HOME": "/h"}) == Path("/h/.config/vmkiln/contexts.json")
