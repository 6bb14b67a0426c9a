"""Every step of a run: failed at each thing it changes, undone twice, done twice; a clean slate after each.

`steps.py` has the steps. They are looked up in the code, so that one without its trial here is found.
"""

import ast
import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins.builds import put_programs
from workflow.effects import Broken, Effects, watching
from workflow.steps import STEPS, Place, Step, a_place, keys_of

from vmkiln.errors import VmkilnError
from vmkiln.store.database import Store, opened

ROOT = Path(__file__).parents[2]
MOST_EFFECTS = 80
STEPS_IN = ("blobs", "fleet", "host", "images", "platform_images", "provisioning", "run", "sharing", "staging")
# what makes something and is tried elsewhere, and where
ELSEWHERE = {
    "blobs/account_containers.py": "tests/clients/test_blob_storage.py",
    "blobs/account_containers.py:_client": "tests/clients/test_blob_storage.py",
    "images/image_note.py": "tests/unit/images/test_quarantine.py",
    "fleet/log_retention.py": "tests/unit/fleet/test_log_retention.py",
    "provisioning/older_secrets.py": "tests/upgrade/test_upgrade.py",
    "provisioning/resealing.py": "tests/unit/cli/test_key_commands.py",
    "host/confinement/jail.py": "tests/isolation/test_jail.py",
    "host/confinement/egress_jail.py": "tests/isolation/test_egress_jail.py",
    "host/making/making_jail.py": "tests/isolation/test_making_jail.py",
    "host/making/jailed_maker.py": "tests/isolation/test_making_jail.py",
    "host/confinement/descriptors.py": "tests/unit/host/confinement/test_descriptors.py",
    "host/confinement/descriptors.py:opened": "tests/unit/host/confinement/test_descriptors.py",
    "host/confinement/vm_ids.py:allotted": "tests/unit/host/confinement/test_vm_ids.py",
    "host/namespace.py:_vm_ids": "tests/unit/host/confinement/test_vm_ids.py",
    "host/supervisor.py:_started": "tests/isolation/test_jail.py",
    "host/copies/forking.py": "tests/isolation/test_resolver.py",
    "host/copies/forking.py:started": "tests/isolation/test_resolver.py",
    "host/copies/launching.py": "tests/unit/host/copies/test_launching.py",
    "host/copies/launching.py:kept": "tests/unit/host/copies/test_launching.py",
    "host/copies/launching.py:started": "tests/unit/host/copies/test_launching.py",
    "host/copies/launching.py:_launcher": "tests/unit/host/copies/test_launching.py",
    "host/console_boot.py:booted": "tests/isolation/test_console_boot_jail.py",
    "host/entrance/loopback_door.py": "tests/isolation/test_loopback_door.py",
    "host/entrance/loopback_door.py:opened": "tests/isolation/test_loopback_door.py",
    "host/console_boot.py:_raw_terminal": "tests/isolation/test_console_boot_jail.py",
    "host/virtual_machine.py:_listening": "part of host/virtual_machine.py:running",
    "host/virtual_machine.py": "part of host/virtual_machine.py:running",
    "host/network/network_setup.py:_begun": "part of host/network/network_setup.py:joined",
    "host/network/network_setup.py": "part of host/network/network_setup.py:joined",
    "host/network/resolver.py": "part of host/network/network_setup.py:joined",
    "host/network/address_service.py": "tests/isolation/test_given_address.py",
    "host/network/address_service.py:giving": "tests/isolation/test_given_address.py",
    "host/network/resolver.py:answering": "part of host/network/network_setup.py:joined",
    "host/network/jailed_service.py": "part of host/network/network_setup.py:joined",
    "host/network/jailed_service.py:serving": "part of host/network/network_setup.py:joined",
    "host/network/proxy.py": "tests/isolation/test_locked_run.py",
    "host/network/proxy.py:proxying": "tests/isolation/test_locked_run.py",
    "host/network/refused_names.py": "tests/unit/host/network/test_refused_names.py",
    "host/network/refused_names.py:told_to": "tests/unit/host/network/test_refused_names.py",
    "host/network/host_watch.py": "tests/isolation/test_late_addresses.py",
    "host/network/host_watch.py:looking": "tests/isolation/test_late_addresses.py",
    "host/network/host_watch.py:watched": "tests/isolation/test_late_addresses.py",
    "host/network/host_watch.py:_more_than_fits": "tests/unit/host/network/test_host_watch.py",
    "provisioning/record_retention.py": "tests/unit/provisioning/test_record_retention.py",
    "host/doctor/restored_guest.py": "tests/unit/host/doctor/test_restored_guest.py",
    "host/doctor/restored_guest.py:_Talk": "tests/unit/host/doctor/test_restored_guest.py",
    "host/usage/machine_usage.py": "part of run/workflow.py:_entered",
    "host/usage/machine_usage.py:recorded": "part of run/workflow.py:_entered",
    "run/timeline/recording.py": "tests/unit/run/test_workflow.py",
    "run/timeline/recording.py:_written": "tests/unit/run/test_workflow.py",
    "run/timeline/recording.py:_never_failing": "tests/unit/run/test_workflow.py",
    "run/timeline/recording.py:watched": "part of run/workflow.py:_entered",
    "staging/logs/log_news.py:followed": "tests/unit/staging/logs/test_log_news.py",
    "staging/logs/log_index.py": "tests/unit/staging/logs/test_log_index.py",
    "staging/logs/log_index.py:line_times": "tests/unit/staging/logs/test_log_index.py",
    "staging/logs/log_index.py:LogIndex": "tests/unit/staging/logs/test_log_index.py",
    "host/network/flow_log.py": "part of run/workflow.py:_entered",
    "host/network/flow_log.py:recorded": "part of run/workflow.py:_entered",
    "host/network/network_rules.py": "part of host/network/network_rules.py:recorded",
    "images/image_store.py": "part of images/managed_image.py",
    "images/image_store.py:removed_on_error": "part of images/managed_image.py",
    "platform_images/making_folder.py": "part of platform_images/making_folder.py:opened",
    "staging/run_directory.py": "part of staging/run_directory.py:held",
    "staging/customization_log.py": "part of staging/customization_log.py:CustomizationLog",
    "staging/container_group.py": "part of staging/container_group.py:started",
    "staging/build_vm.py": "part of host/virtual_machine.py:running",
    "blobs/account_keys.py:_locked": "part of blobs/account_keys.py",
    "run/building.py": "part of staging/staging_resource_group.py",
    "provisioning/submitting.py": "part of staging/staging_resource_group.py",
    "run/failure/console_text.py": "tests/unit/run/failure/test_console_text.py",
    "run/held/door.py": "tests/unit/run/held/test_door.py",
    "run/held/door.py:opened": "tests/unit/run/held/test_door.py",
    "run/held/holding.py": "tests/vm/test_held.py",
    "run/held/releasing.py": "tests/unit/run/held/test_lease_on_disk.py",
    "run/held/shell_group.py": "tests/vm/test_held.py",
    "host/devices/handed_descriptor.py": "tests/unit/run/held/test_shell_group.py",
    "host/devices/late_port.py": "tests/vm/test_visitors_group.py",
    "host/devices/late_port.py:plugged_in": "tests/vm/test_visitors_group.py",
    "run/held/shell_group.py:_port": "tests/vm/test_visitors_group.py",
    "run/guest/linux_guest.py": "part of run/customizing.py",
    "host/devices/screen_picture.py": "tests/isolation/test_jailed_screen.py",
    "host/devices/screen_picture.py:_file": "tests/isolation/test_jailed_screen.py",
    "run/guest/screen.py": "tests/unit/run/guest/test_screen.py",
    "run/guest/screen.py:watched": "tests/unit/run/guest/test_screen.py",
    "run/guest/windows_guest.py": "tests/unit/run/guest/test_choice.py",
    "run/vm_pair.py": "part of staging/container_group.py:started",
    "run/starts/beside_runs.py": "tests/unit/run/starts/test_beside_runs.py",
    "run/starts/beside_runs.py:taken": "tests/unit/run/starts/test_beside_runs.py",
    "run/starts/build_vm_start.py": "tests/unit/run/starts/test_build_vm_start.py",
    "run/checkpoints/keeping.py": "tests/unit/run/checkpoints/test_keeping.py",
    "run/checkpoints/whole_builds.py": "tests/unit/run/checkpoints/test_whole_builds.py",
    "run/checkpoints/scrubbed_disk.py": "tests/unit/run/checkpoints/test_scrubbed_disk.py",
    "run/checkpoints/kept_builds.py": "tests/unit/run/checkpoints/test_kept_builds.py",
    "run/starts/warming.py": "tests/unit/warm/test_saved_base.py",
    "run/validating.py": "part of run/customizing.py",
    "run/gates/boot_gate.py": "part of run/customizing.py",
    "run/gates/login_check.py": "tests/unit/run/gates/test_login_check.py",
    "run/gates/hygiene_gate.py": "part of run/customizing.py",
    "run/attesting/source_look.py": "tests/unit/run/attesting/test_source_look.py",
    "run/gates/windows_hygiene.py": "tests/unit/run/gates/test_windows_hygiene.py",
    "run/guest/windows_source.py": "tests/unit/run/guest/test_taken_out.py",
    "run/guest/windows_inspection.py": "tests/unit/run/gates/test_windows_hygiene.py",
    "run/finished/build_keys.py": "tests/unit/run/finished/test_build_keys.py",
    "run/finished/kept_disk.py": "tests/unit/run/finished/test_kept_disk.py",
    "run/finished/kept_disk.py:_made": "tests/unit/run/finished/test_kept_disk.py",
    "run/distributing.py": "tests/unit/run/test_distributing.py",
    "run/final_disk/flattening.py": "tests/unit/run/final_disk/test_flattening.py",
    "run/final_disk/proving.py": "tests/unit/run/test_workflow.py",
    "run/final_disk/vm_boot.py": "tests/unit/run/final_disk/test_vm_boot.py",
    "images/vhd_image.py:_at_hand": "part of images/vhd_image.py",
    "provisioning/provisioning.py": "tests/api/test_image_templates.py",
    "host/reserve_file.py": "tests/unit/host/test_reserve_file.py",
    "blobs/blob_storage.py": "tests/unit/blobs/test_blob_upload.py",
    "blobs/blob_upload.py": "tests/unit/blobs/test_blob_upload.py",
    "blobs/blob_server.py": "tests/unit/blobs/test_blob_server.py",
    "blobs/blob_server_install.py": "tests/unit/blobs/test_blob_server.py",
    "platform_images/image_import.py": "tests/unit/platform_images/test_image_import.py",
    "platform_images/resumed_download.py": "tests/unit/platform_images/test_image_download.py",
    "run/cleaning_up.py:_going_on": "tests/unit/run/test_cleaning_up.py",
    "platform_images/image_download.py": "tests/unit/platform_images/test_image_download.py",
    "platform_images/image_cache.py": "tests/unit/platform_images/test_image_cache.py",
    "platform_images/platform_image.py": "tests/unit/platform_images/test_platform_image.py",
    "platform_images/debian_recipe.py": "tests/unit/platform_images/test_debian_recipe.py",
    "images/container_image.py": "tests/unit/images/test_container_image.py",
    "fleet/durable_attempts.py:opened": "tests/unit/fleet/test_durable_attempts.py",
    "host/confinement/call_filter.py": "tests/isolation/test_making_jail.py",
    "host/confinement/program_jail.py": "tests/isolation/test_program_jail.py",
    "host/confinement/run_group.py": "tests/unit/host/confinement/test_run_group.py",
    "host/making/work_group.py": "tests/unit/host/making/test_work_group.py",
    "host/making/work_group.py:held": "tests/unit/host/making/test_work_group.py",
    "host/confinement/run_group.py:held": "tests/unit/host/confinement/test_run_group.py",
    "host/host_id.py": "tests/unit/host/test_host_id.py",
    "fleet/lease.py:held": "tests/unit/fleet/test_lease.py",
    "fleet/lease.py:looked": "tests/unit/fleet/test_lease.py",
    "staging/output_queue.py:opened": "tests/unit/staging/test_output_queue.py",
    "run/workflow.py:_receipts": "tests/faults/test_kill_every_process.py",
    "run/packer_phase.py:ending_told": "tests/unit/run/test_login_wait.py",
    "sharing/sent_run.py": "tests/unit/sharing/test_shared_storage.py",
    "sharing/shared_images.py": "tests/unit/sharing/test_shared_storage.py",
    "sharing/shared_images.py:one_at_a_time": "tests/unit/sharing/test_shared_storage.py",
    "sharing/shared_storage.py": "tests/unit/sharing/test_shared_storage.py",
    "sharing/shared_storage.py:mirrored": "tests/unit/sharing/test_shared_storage.py",
    "sharing/object_store.py": "tests/unit/sharing/test_object_store.py",
    "sharing/object_store.py:_doing": "tests/unit/sharing/test_object_store.py",
    "sharing/object_store.py:_named": "tests/unit/sharing/test_object_store.py",
    "sharing/log_pieces.py": "tests/unit/sharing/test_shared_storage.py",
    "platform_images/making_folder.py:_taken_if_abandoned": "tests/unit/platform_images/test_making_folder.py",
    "host/saved/saved_vm.py": "tests/unit/host/saved/test_saved_vm.py",
    "staging/run_directory.py:_made": "part of staging/run_directory.py:held",
    "run/held/lease.py": "tests/unit/run/held/test_lease_on_disk.py",
    "run/held/sealing.py": "tests/isolation/test_leased_vm.py",
    "run/held/called.py": "tests/unit/run/held/test_called.py",
    "run/held/waking.py": "tests/isolation/test_leased_vm.py",
    "run/held/waking.py:woken": "tests/isolation/test_leased_vm.py",
    "run/held/waking.py:disks_of": "tests/unit/run/held/test_lease_receipts.py",
    "run/held/waking.py:_beside": "tests/isolation/test_leased_vm.py",
    "run/held/waking.py:_lock_of": "tests/unit/run/held/test_lease_on_disk.py",
    "host/saved/whole_vm.py": "tests/isolation/test_counting_vm.py",
    "host/saved/device_state.py": "tests/vm/test_group_goes_on.py",
    "host/saved/device_state.py:_handed_over": "tests/vm/test_group_goes_on.py",
}


def steps_in(path: Path) -> Iterator[str]:
    """A module that says what it leaves behind, each context manager, and each class that is one."""
    where = str(path.relative_to(ROOT / "vmkiln"))
    tree = ast.parse(path.read_text())
    if "*Leaves behind:*" in (ast.get_docstring(tree) or ""):
        yield where
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(ast.unparse(item).endswith("contextmanager") for item in node.decorator_list):
                yield f"{where}:{node.name}"
        elif isinstance(node, ast.ClassDef) and any(
            isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name in {"__exit__", "__aexit__"}
            for item in node.body
        ):
            yield f"{where}:{node.name}"


def test_every_step_of_the_code_is_tried() -> None:
    code = {step for folder in STEPS_IN for path in (ROOT / "vmkiln" / folder).rglob("*.py") for step in steps_in(path)}
    tried = {step.code for step in STEPS}
    modules = {name for name in tried if ":" not in name}
    assert code - tried - set(ELSEWHERE) == set(), "steps that nobody tries"
    assert set(ELSEWHERE) - code == set(), "no such steps any more"
    assert tried - code - modules == set(), "no such steps any more"
    assert all((ROOT / "vmkiln" / name).is_file() for name in modules)
    for name, where in ELSEWHERE.items():
        part = where.removeprefix("part of ")
        assert part in tried if part != where else (ROOT / where).is_file(), name


@pytest.fixture(autouse=True)
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for QEMU is first on PATH."""
    programs = put_programs(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "script.sh").write_text("true\n")
    with opened(home / "vmkiln.sqlite") as store:
        yield a_place(home, store)


def slate(place: Place) -> set[str]:
    """What is there: files, rows of the store, processes below this one."""
    store: Store = place.store
    home = place.settings.home
    files = {str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()}
    files |= {str(path.relative_to(home)) for path in (*home.glob("runs/*"), *home.glob(".*"))}
    files |= {f"keys of {account}" for account in keys_of(place).all()}
    rows = {f"group {row.name}" for row in store.staging.list_groups()}
    rows |= {f"image {row.artifact_id}" for row in store.images.list()}
    rows |= {f"definition {row.definition_id}" for row in store.images.definitions()}
    rows |= {
        f"{row.type} {row.state}"
        for group in store.staging.list_groups()
        for row in store.staging.resources_of(group.name)
        if row.state != "deleted"
    }
    return {name for name in files if not re.match(r"vmkiln\.sqlite", name)} | rows | processes()


def processes() -> set[str]:
    command = ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (line.split(None, 2) for line in listed.stdout.splitlines())
    return {item[2] for item in words if not item[1].startswith("Z") and not item[2].startswith("ps ")}


async def do(step: Step, place: Place, effects: Effects) -> set[str]:
    """Do the step with its changes counted, and undo it; gives what was there meanwhile."""
    async with contextlib.AsyncExitStack() as stack:
        with effects.counted():
            await stack.enter_async_context(step.done(place))
        return slate(place)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.code)
def test_a_step_done_twice_and_undone_twice_leaves_a_clean_slate(step: Step, place: Place) -> None:
    before = slate(place)
    for _ in range(2):
        there = asyncio.run(do(step, place, Effects()))
        assert there > before, "the step makes something"
        assert slate(place) == before
        step.again(place)
        assert slate(place) == before


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.code)
def test_a_step_that_fails_at_whatever_it_changes_leaves_a_clean_slate(step: Step, place: Place) -> None:
    before = slate(place)
    for number in range(0, MOST_EFFECTS, step.every):
        effects = Effects(number)
        with watching(effects):
            try:
                asyncio.run(do(step, place, effects))
            except (Broken, VmkilnError):
                assert len(effects.seen) == number + 1, "it is what was broken off that fails"
        step.again(place)
        assert slate(place) == before, f"failed at change {number}: {effects.seen[-1:]}"
        if len(effects.seen) <= number:  # there were no more changes
            assert effects.seen, "the step changes something"
            return
    raise AssertionError(f"more than {MOST_EFFECTS} changes")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.code)
def test_a_failure_just_after_a_step_leaves_a_clean_slate(step: Step, place: Place) -> None:
    async def fail() -> None:
        async with step.done(place):
            raise ValueError("just after")

    before = slate(place)
    with pytest.raises(ValueError, match="just after"):
        asyncio.run(fail())
    assert slate(place) == before
