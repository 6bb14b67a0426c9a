"""The libraries of a program: asked once, and again when the program's file changes."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from vmkiln.host import command
from vmkiln.host.shared_libraries import libraries_of


async def test_libraries_are_asked_once_until_the_program_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "program"))
    asked, run = [], command.run

    async def counted(*arguments: Any, **named: Any) -> command.Completed:
        asked.append(arguments)
        return await run(*arguments, **named)

    monkeypatch.setattr(command, "run", counted)
    first = await libraries_of(program)
    assert first
    assert await libraries_of(program) == first
    assert len(asked) == 1
    os.utime(program, ns=(1, 1))
    assert await libraries_of(program) == first
    assert len(asked) == 2


async def test_what_is_no_program_has_no_libraries(tmp_path: Path) -> None:
    assert await libraries_of(tmp_path / "gone") == []
