"""The seed: who may log in to the build VM."""

import json
import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

from vmkiln.fetching.guest_way_out import SEED_FILE, GuestWayOut
from vmkiln.staging.cloud_init_seed import contents
from vmkiln.staging.login_key import new_key
from vmkiln.staging.virtual_network import decide

NETWORK = decide([IPv4Interface("192.0.2.2/24")], is_windows=False)


def test_only_the_runs_own_key_logs_in() -> None:
    login = new_key("run")
    files = contents(instance_id="i-1", host_name="build-vm", network=NETWORK, login=login, host_key=new_key("host"))
    data = json.loads(files["user-data"].removeprefix("#cloud-config\n"))
    (user,) = data["users"]
    assert user["ssh_authorized_keys"] == [login.public]
    assert user["lock_passwd"] is True
    assert data["ssh_pwauth"] is False
    assert login.private not in files["user-data"]


def test_the_address_is_static_and_matched_by_mac() -> None:
    files = contents(
        instance_id="i-1", host_name="build-vm", network=NETWORK, login=new_key("a"), host_key=new_key("b")
    )
    primary = json.loads(files["network-config"])["ethernets"]["primary"]
    assert primary["match"]["macaddress"] == NETWORK.build_vm_subnet.mac
    assert primary["addresses"] == ["10.0.1.4/24"]
    assert primary["dhcp4"] is False


def test_data_disks_have_azures_names_while_the_vm_is_up(tmp_path: Path) -> None:
    made = {"instance_id": "i", "host_name": "h", "network": NETWORK, "login": new_key("a"), "host_key": new_key("b")}
    without, files = contents(**made), contents(**made, has_data_disks=True)  # type: ignore[arg-type]
    assert "azure" not in without["user-data"]
    command = json.loads(files["user-data"].removeprefix("#cloud-config\n"))["bootcmd"][-1]
    (tmp_path / "udevadm").write_text("#!/bin/sh\n")
    (tmp_path / "udevadm").chmod(0o700)
    folder = tmp_path / "rules.d"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", command.replace("/run/udev/rules.d", str(folder))], env=environment, check=True)
    disk, partition = (folder / "99-vmkiln-data-disks.rules").read_text().splitlines()
    assert disk.endswith('ENV{DEVTYPE}=="disk", SYMLINK+="disk/azure/scsi1/$env{ID_SERIAL}"')
    assert partition.endswith('ENV{DEVTYPE}=="partition", SYMLINK+="disk/azure/scsi1/$env{ID_SERIAL}-part%n"')


def test_each_run_gets_another_key() -> None:
    assert new_key("x").public != new_key("x").public


def test_authorities_lie_on_the_seed_and_not_in_what_cloud_init_keeps() -> None:
    made = {"instance_id": "i", "host_name": "h", "network": NETWORK, "login": new_key("a"), "host_key": new_key("b")}
    without, files = contents(**made), contents(**made, way_out=GuestWayOut(authorities="PEM OF OURS"))  # type: ignore[arg-type]
    assert set(files) - set(without) == {SEED_FILE}
    assert files[SEED_FILE] == "PEM OF OURS"
    commands = json.loads(files["user-data"].removeprefix("#cloud-config\n"))["bootcmd"]
    assert any(SEED_FILE in command for command in commands)
    assert "PEM OF OURS" not in files["user-data"]
