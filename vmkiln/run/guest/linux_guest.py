"""A Linux VM for a phase of Packer's work: cloud-init's seed, a key of its own, Packer over ssh.

*Leaves behind:* the variables of its firmware, in the run's folder. *Undone by:* the deletion of that folder.
*Safe to repeat:* yes.
"""

from collections.abc import Sequence
from typing import cast

from vmkiln.fetching.guest_way_out import variables
from vmkiln.packer.packer_template import Connection, Step, packer_input
from vmkiln.run.guest.guest import LATER_SECONDS, Disc, Guest, vm_of
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.login_wait import LOGIN_SECONDS
from vmkiln.run.run_context import Staged
from vmkiln.staging import cloud_init_seed, container_group
from vmkiln.staging.login_key import new_key


def connection(staged: Staged, private_key: str) -> Connection:
    """How Packer logs in; it gives up a little later than `login_wait.py`, which knows what the console says."""
    timeout = min(LOGIN_SECONDS + LATER_SECONDS, staged.request.template.build_timeout_seconds)
    return Connection(
        container_group.RELAY_PORT,
        cloud_init_seed.USER,
        private_key,
        timeout,
        cloud_init_seed.SCRIPT_FOLDER,
        variables(staged.way_out),
    )


def instance_id_of(staged: Staged, order: PackerPhase) -> str:
    """Who cloud-init in the VM believes to be; pure."""
    return order.start.instance_id or f"{staged.request.run_id}-{order.vm_name}"


def described(staged: Staged, order: PackerPhase) -> Guest:
    """The guest of this phase, with a login of its own. Raises: `HostUnfit` without its firmware."""
    login = new_key(cloud_init_seed.KEY_COMMENT)
    seed = staged.directory / f"{order.vm_name}-seed.iso"
    seed_contents = cloud_init_seed.contents(
        instance_id=instance_id_of(staged, order),
        host_name=cloud_init_seed.HOST_NAME,
        network=staged.network,
        login=login,
        host_key=new_key("host"),
        has_data_disks=bool(order.disks.data),
        way_out=staged.way_out,
    )
    content = packer_input(cast("Sequence[Step]", order.steps), connection(staged, login.private))
    vm = vm_of(staged, order, seed)
    return Guest(content, vm, (Disc(seed, cloud_init_seed.LABEL, seed_contents),), login.private)
