"""What the gates of a finished disk put on record."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.qemu import Disk
from vmkiln.run import validating
from vmkiln.run.final_disk import flattening, proving
from vmkiln.run.run_context import Disks
from vmkiln.run_failures import ValidationFailed


@dataclass(frozen=True)
class Work:
    """As much of finished work as the gates change."""

    is_validated: bool = False
    validation_error: str = ""
    digest: str = "d"


@pytest.mark.parametrize("step", [None, SimpleNamespace(name="look", path="")])
async def test_a_validation_that_packer_never_came_to_proves_no_boot(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = SimpleNamespace(outcome=SimpleNamespace(exit_status=1), step=step, error="no login", refused=())
    validation = SimpleNamespace(in_vm_validations=(1,), continue_distribute_on_failure=True)
    properties = SimpleNamespace(
        validation=validation,
        error_handling=SimpleNamespace(on_validation_error="cleanup"),
        optimize=SimpleNamespace(vm_boot=SimpleNamespace(state="Disabled")),
    )
    request = SimpleNamespace(run_id="r" * 36, template=SimpleNamespace(properties=properties))
    staged: Any = SimpleNamespace(
        request=request,
        host=SimpleNamespace(store=None, settings=SimpleNamespace(optimize_boot=True)),
        tell=lambda _: None,
        directory=None,
    )
    recorded: list[Work] = []

    async def nothing(*_: object, **__: object) -> None:
        """What has no part in it."""

    async def validated(*_: object) -> None:
        raise validating.failure_of(staged, result)  # type: ignore[arg-type]

    monkeypatch.setattr(proving, "begin", nothing)
    monkeypatch.setattr(validating, "validate", validated)
    monkeypatch.setattr(flattening, "prepared", nothing)
    monkeypatch.setattr(proving, "record", lambda _store, _run, work: recorded.append(work))
    async with asyncio.TaskGroup() as tasks:
        entered: Any = SimpleNamespace(staged=staged)
        found = await proving.proven(entered, Disks(Disk(Path("/os"), "qcow2")), Work(), tasks)  # type: ignore[arg-type]
    assert isinstance(found.failure, ValidationFailed), "it is distributed all the same, as the template asks"
    assert "no login" in recorded[0].validation_error
    assert recorded[0].is_validated == (step is not None), "the release policy may demand a boot"
