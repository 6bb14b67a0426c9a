"""The seed that tells a build VM, through cloud-init's NoCloud data source, who may log in and what its address is.

Source: cloud-init's documentation of NoCloud, network configuration version 2, and its modules. JSON is valid YAML.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut, boot_commands, seed_files
from vmkiln.staging.virtual_network import VirtualNetwork

USER = "packer"
LABEL = "cidata"
# the deprovision step takes this name out of the image again
HOST_NAME = "build-vm"
# the deprovision step knows the run's key by it, should a customizer have copied it
KEY_COMMENT = "vmkiln-build"
SCRIPT_FOLDER = "/run/packer"
# the deprovision step takes it out again
MOUNT_UNIT = "/etc/systemd/system/run-packer.mount"
MOUNT_OPTIONS = "nosuid,nodev,exec,mode=1777"


@dataclass(frozen=True)
class LoginKey:
    """A key pair made for one run: private half in OpenSSH's format, public half as in authorized_keys."""

    private: str
    public: str


def _script_folder() -> str:
    """The commands that make the scripts' folder, at every boot.

    It is in memory: a deleted file of the disk would still be in the image's bytes. Scripts may run from it. systemd
    makes it, too, for a step may take cloud-init away and then restart the VM.
    """
    mount = f"[Mount]\\nWhat=tmpfs\\nWhere={SCRIPT_FOLDER}\\nType=tmpfs\\nOptions={MOUNT_OPTIONS}\\n"
    wants = MOUNT_UNIT.replace("/run-", "/local-fs.target.wants/run-")
    return (
        f"mountpoint -q {SCRIPT_FOLDER} || "
        f"{{ mkdir -p {SCRIPT_FOLDER} && mount -t tmpfs -o {MOUNT_OPTIONS} tmpfs {SCRIPT_FOLDER}; }}; "
        f"[ ! -d /run/systemd/system ] || [ -e {MOUNT_UNIT} ] || "
        f"{{ printf '{mount}' > {MOUNT_UNIT}; mkdir -p {wants.rpartition('/')[0]}; ln -sf {MOUNT_UNIT} {wants}; }}"
    )


def _data_disk_names() -> str:
    """The command that gives data disks Azure's names, /dev/disk/azure/scsi1/lun0, at every boot.

    The rule is in memory: the image gets its own from the agent of whatever runs it.
    """
    disk = 'SUBSYSTEM=="block", ENV{ID_SERIAL}=="lun[0-9]*", ENV{DEVTYPE}=='
    link = 'SYMLINK+="disk/azure/scsi1/$env{ID_SERIAL}'
    rules = (f'{disk}"disk", {link}"', f'{disk}"partition", {link}-part%n"')
    quoted = " ".join(f"'{rule}'" for rule in rules)
    folder = "/run/udev/rules.d"
    return (
        f"! command -v udevadm > /dev/null || {{ mkdir -p {folder} && "
        f"printf '%s\\n' {quoted} > {folder}/99-vmkiln-data-disks.rules && udevadm control --reload && "
        "udevadm trigger --action=change --subsystem-match=block && udevadm settle --timeout=20; }"
    )


def contents(
    *,
    instance_id: str,
    host_name: str,
    network: VirtualNetwork,
    login: LoginKey,
    host_key: LoginKey,
    has_data_disks: bool = False,
    way_out: GuestWayOut = STRAIGHT_OUT,
    more_boot_commands: Sequence[str] = (),
) -> dict[str, str]:
    """The seed's files by name; pure.

    The VM's ssh host key is made by us, so that no time goes into making one inside and its identity is known.
    `more_boot_commands` are for `sh`, at every boot, early.
    """
    subnet = network.build_vm_subnet
    user_data = {
        "users": [
            {
                "name": USER,
                "gecos": "Image build user, removed before the image is taken",
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [login.public],
            }
        ],
        "bootcmd": [
            _script_folder(),
            *([_data_disk_names()] if has_data_disks else []),
            *boot_commands(way_out, user=USER, label=LABEL),
            *more_boot_commands,
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "ssh_quiet_keygen": True,
        # else every sudo asks DNS for the VM's own name; the deprovision step takes the line out again
        "manage_etc_hosts": "localhost",
        # what makes a VM usable runs in cloud-init's first stage; its later stages have nothing to do here, and would
        # compete with the customizers for the VM's CPU
        "cloud_config_modules": [],
        # but this one, which writes the file that scripts wait for: /var/lib/cloud/instance/boot-finished
        "cloud_final_modules": ["final_message"],
    }
    network_config = {
        "version": 2,
        "ethernets": {
            "primary": {
                "match": {"macaddress": subnet.mac},
                "dhcp4": False,
                "dhcp6": False,
                # without these the guest waits many seconds for an IPv6 router that does not exist
                "accept-ra": False,
                "link-local": [],
                "addresses": [subnet.address_with_prefix],
                "routes": [{"to": "0.0.0.0/0", "via": str(subnet.router)}],
                "nameservers": {"addresses": [str(network.dns)]},
            }
        },
    }
    return {
        "meta-data": json.dumps({"instance-id": instance_id, "local-hostname": host_name}),
        "user-data": "#cloud-config\n" + json.dumps(user_data),
        "network-config": json.dumps(network_config),
        **seed_files(way_out),
    }
