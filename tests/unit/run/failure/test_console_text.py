"""What a failed VM's console said is kept, without secrets, and keeps nothing else from being done."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import StorageFailed
from vmkiln.run.failure.console_text import kept_then
from vmkiln.secrecy.secret_mask import SecretMask


class Failed:
    """A failed VM beside its run; `entered` counts what was done then."""

    def __init__(self, blob: Any, *, is_off: bool = False) -> None:
        account = SimpleNamespace(blob=blob)
        request = SimpleNamespace(run_id="run", mask=SecretMask(["s3cret-value"]))
        self.staged: Any = SimpleNamespace(group=SimpleNamespace(storage_account=account), request=request)
        ended = SimpleNamespace(done=lambda: is_off)
        console = bytearray(b"Out of memory: Killed process 7 (s3cret-value)\xff\n")
        self.vm: Any = SimpleNamespace(name="build-vm", console=console, ended=ended)
        self.entered = 0

    async def enter(self, _packers: object, _vm: object) -> None:
        self.entered += 1


async def test_the_console_of_a_failed_vm_is_kept_without_secrets(tmp_path: Path) -> None:
    failed = Failed(lambda name: tmp_path / Path(name).name)
    await kept_then(failed.staged, None, failed.vm, failed.vm)
    [file] = tmp_path.iterdir()
    text = file.read_text()
    assert (file.name, file.stat().st_mode & 0o777) == ("console.log", 0o600)
    assert "Out of memory: Killed process 7" in text
    assert "s3cret-value" not in text


@pytest.mark.parametrize(("is_off", "times"), [(False, 1), (True, 0)])
async def test_a_console_that_cannot_be_kept_keeps_nobody_from_entering(is_off: bool, times: int) -> None:
    def full(_name: str) -> Path:
        raise StorageFailed("no room")

    failed = Failed(full, is_off=is_off)
    await kept_then(failed.staged, failed.enter, failed.vm, failed.vm)
    assert failed.entered == times, "a VM that is off is not held"
