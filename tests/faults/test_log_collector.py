"""The log of a build cannot be kept any more: the run ends at once and says so. The guests are stood in for."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
from stand_ins.builds import put_programs
from stand_ins.unconfined import unconfined
from workflow.steps import a_machine, a_network

from vmkiln.host import namespace, virtual_machine
from vmkiln.host.qemu import Accelerator
from vmkiln.packer.step_watch import StepWatch
from vmkiln.run.login_wait import LoginWait
from vmkiln.run.vm_pair import VmPair, run_to_end
from vmkiln.run_failures import LogLost
from vmkiln.staging import container_group


async def test_a_log_that_cannot_be_written_ends_the_run_with_a_named_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{put_programs(tmp_path / 'programs')}:{os.environ['PATH']}")
    folder = tmp_path / "run"
    folder.mkdir()
    # held for ever, as a long customizer
    os.mkfifo(folder / "gate")
    (folder / "hold").write_text("build-vm 0\n")
    (folder / "steps-build-vm").write_text("shell")

    def write(chunk: bytes) -> None:
        if b"step 0" in chunk:  # the last that Packer says before it is held
            raise OSError(errno.ENOSPC, "No space left on device")

    nothing = tmp_path / "nothing"
    group = container_group.ContainerGroup(nothing, nothing, nothing, nothing, Accelerator.TCG)
    pair = VmPair(
        container_group=container_group.describe(group, a_network(), name="container-build-vm"),
        vm=a_machine("build-vm"),
        directory=folder,
        on_output=write,
        login=LoginWait(asyncio.Event(), print),
        steps=StepWatch("build-vm", ()),
        tell=print,
        log_lost=asyncio.get_running_loop().create_future(),
    )
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with unconfined():
        async with namespace.opened() as inside, asyncio.timeout(30):
            await virtual_machine.bind_run_directory(inside, folder)
            with pytest.raises(LogLost, match="No space left on device"):
                await run_to_end(inside, pair, egress_lost=lost, may_power_off=lambda: False, power_off=True)
