"""The libraries of a program: asked once, and again when the program's file or the machine's libraries change."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from vmkiln.host import command, shared_libraries
from vmkiln.host.shared_libraries import libraries_of


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The programs that were started."""
    started: list[Any] = []
    run = command.run

    async def counted(*arguments: Any, **named: Any) -> command.Completed:
        started.append(arguments)
        return await run(*arguments, **named)

    monkeypatch.setattr(command, "run", counted)
    return started


async def test_libraries_are_asked_once_until_the_program_changes(tmp_path: Path, asked: list[Any]) -> None:
    program = Path(shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "program"))
    first = await libraries_of(program)
    assert first
    assert await libraries_of(program) == first
    assert len(asked) == 1
    os.utime(program, ns=(1, 1))
    assert await libraries_of(program) == first
    assert len(asked) == 2


async def test_libraries_are_asked_again_when_others_were_installed(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "program"))
    monkeypatch.setattr(shared_libraries, "LOADERS_CACHE", tmp_path / "ld.so.cache")
    for times in range(1, 3):
        assert await libraries_of(program)
        assert await libraries_of(program)
        assert len(asked) == times
        (tmp_path / "ld.so.cache").touch()


async def test_what_a_library_that_is_missing_leaves_is_not_remembered(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "program"))
    monkeypatch.setattr(shared_libraries, "NOT_FOUND", "libc")
    assert await libraries_of(program) == await libraries_of(program)
    assert len(asked) == 2


async def test_what_is_no_program_has_no_libraries(tmp_path: Path) -> None:
    assert await libraries_of(tmp_path / "gone") == []
