"""What answers as no service of ours is not logged in to, and what it answers is not told as JSON."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from vmkiln.cli import arm_client
from vmkiln.cli.arm_client import ArmClient
from vmkiln.cli.main import app
from vmkiln.cli.service.answers import UnexpectedAnswer

PAGE = "<html>\x1b[31m a router"


def asked(monkeypatch: pytest.MonkeyPatch, content: str, *words: str) -> Result:
    """A command whose service answers so, whatever it is asked."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=content))

    @contextlib.asynccontextmanager
    async def client(*_: object, **__: object) -> AsyncIterator[ArmClient]:
        async with httpx.AsyncClient(transport=transport) as web:
            yield ArmClient(web, "https://here:1", "t")

    for name in ("remote_client", "opened_client"):
        monkeypatch.setattr(arm_client, name, client)
    return CliRunner().invoke(app, words, input="secret")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the user keeps."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.mark.parametrize("content", [PAGE, "[]", "{}", '{"value": null}', '{"value": ["x"]}'])
def test_nobody_is_logged_in_to_what_is_no_service(content: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asked(monkeypatch, content, "login", "https://here:1", "--token-stdin")
    assert isinstance(done.exception, UnexpectedAnswer)
    assert not folder.exists()
    done = asked(monkeypatch, '{"value": []}', "login", "https://here:1", "--token-stdin", "--json")
    assert json.loads(done.stdout)["url"] == "https://here:1"


def test_an_answer_that_is_no_json_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    done = asked(monkeypatch, PAGE, "rest", "GET", "/x", "--json")
    assert isinstance(done.exception, UnexpectedAnswer)
    assert done.exception.message.endswith("the answer is no JSON but `<html> a router`")
    assert done.stdout == ""
    assert asked(monkeypatch, "", "rest", "GET", "/x", "--json").stdout == "null\n"
    assert asked(monkeypatch, PAGE, "rest", "GET", "/x").stdout.startswith("<html>")
    assert json.loads(asked(monkeypatch, "[1]", "rest", "GET", "/x", "--json").stdout) == [1]
