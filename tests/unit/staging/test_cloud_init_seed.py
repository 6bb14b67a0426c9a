"""The seed: who may log in to the build VM."""

import json
from ipaddress import IPv4Interface

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


def test_each_run_gets_another_key() -> None:
    assert new_key("x").public != new_key("x").public
