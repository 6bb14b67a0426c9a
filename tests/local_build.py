"""A run that `vmkiln build` made of a file, with its staging resource group, as its command records it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.azure_names import (
    CONTAINER_GROUP,
    CUSTOMIZATION_LOG,
    DISK,
    FLOW_LOG,
    NETWORK_INTERFACE,
    SECURITY_GROUP,
    VIRTUAL_MACHINE,
    VIRTUAL_NETWORK,
)
from vmkiln.host.network import network_rules
from vmkiln.host.usage import machine_usage
from vmkiln.run_state import RunState
from vmkiln.staging import staging_resource_group
from vmkiln.staging.staging_resource_group import group_name, group_tags
from vmkiln.staging.storage_account import LOGS, SCRIPTS, VHDS, StorageAccount
from vmkiln.store.database import Store
from vmkiln.store.rows import RunOutputRow, RunRow

NAMES = {
    VIRTUAL_NETWORK: "vnet",
    SECURITY_GROUP: "nsg",
    DISK: "build-vm-os-disk",
    NETWORK_INTERFACE: "build-vm-nic",
    VIRTUAL_MACHINE: "build-vm",
}
DETAILS: dict[str, dict[str, Any]] = {
    VIRTUAL_NETWORK: {"subnets": {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}},
    NETWORK_INTERFACE: {"address": "10.0.1.4", "mac": "02:00:00:00:00:01"},
    VIRTUAL_MACHINE: {"vmSize": "Standard_D1_v2", "cpus": 2, "memoryMiB": 2048},
}
MACHINE = "container-build-vm"
REFUSED = {
    "time": "2026-01-01T00:00:01Z", "vm": "build-vm", "step": "Customizing: first", "protocol": "tcp",
    "address": "192.168.1.1", "port": 22, "name": "", "packets_out": 3, "bytes_out": 180, "packets_in": 0,
    "bytes_in": 0, "verdict": "refused: forbidden address", "detail": "",
}  # fmt: skip


@dataclass(frozen=True)
class LocalBuild:
    """The run, the name of its group, what is in that by type, and how to say that the build has ended."""

    run_id: str
    group: str
    account: StorageAccount
    names: dict[str, str]
    store: Store
    numbers: Sequence[int]

    @property
    def group_id(self) -> str:
        return f"/providers/Vmkiln.Builds/resourceGroups/{self.group}"

    def id_of(self, type_name: str) -> str:
        return f"{self.group_id}/providers/{type_name}/{self.names[type_name]}"

    def end(self) -> None:
        """Its resources are gone; the storage account stays."""
        self.store.staging.resources_deleted(self.numbers)


def local_build(staging: Path, store: Store, run_id: str) -> LocalBuild:
    """One that goes on: it has printed two lines, tried what is refused, and published a VHD."""
    now = store.now()
    facts: Any = {"host_id": "h", "begun_by": "maria", "built_of": {"template": "/t.json"}}
    store.runs.add(RunRow(run_id, "hello", "local", {}, RunState.RUNNING, "", "", "", "", facts, now, None))
    name = group_name("local", "hello", run_id)
    tags = group_tags(template_name="hello", resource_group="local", managed_resource_tags={})
    group = staging_resource_group.create(staging, store, name=name, run_id=run_id, tags=tags)
    container = f"vmimagebuilder-build-container-{run_id[:10]}"
    detail = {"containers": ["packer"], "memoryMiB": 384, "machine": MACHINE}
    entries = [(type_name, one, DETAILS.get(type_name, {})) for type_name, one in NAMES.items()]
    numbers = store.staging.add_resources(
        name, run_id=run_id, entries=[*entries, (CONTAINER_GROUP, container, detail)], exist=True
    )
    account = group.storage_account
    log = f"[{run_id}] PACKER OUT hello from the command\n[{run_id}] PACKER ERR and its stderr\n"
    account.blob(f"{LOGS}/{run_id}/{CUSTOMIZATION_LOG}").write_text(log)
    account.blob(f"{LOGS}/{run_id}/{FLOW_LOG}").write_text(json.dumps(REFUSED) + "\n")
    account.blob(f"{SCRIPTS}/0-hello.sh").write_text("echo hello\n")
    vhd = account.blob(f"{VHDS}/disk.vhd")
    vhd.write_bytes(b"disk")
    store.images.put_output(RunOutputRow(run_id, "out", "", vhd.as_uri(), "Succeeded", ""))
    rule = {"chain": "forward", "comment": "far guest to the Internet", "packets": 12, "bytes": 3456,
            "expression": 'oifname "wan" accept', "policy": "drop"}  # fmt: skip
    rules = {"run_id": run_id, "rules": [rule], "network": {"subnets": {}, "inside": "far", "forbidden": []}}
    (staging / name / network_rules.FILE_NAME).write_text(json.dumps(rules))
    points = [[1000.0 + 5 * at, 2.0 * at, 100_000] for at in range(4)]
    course = {"run_id": run_id, "machines": {MACHINE: points, "build-vm": points}}
    (staging / name / machine_usage.FILE_NAME).write_text(json.dumps(course))
    return LocalBuild(run_id, name, account, {**NAMES, CONTAINER_GROUP: container}, store, numbers)
