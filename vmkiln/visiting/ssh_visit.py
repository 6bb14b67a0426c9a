"""An image that its user enters by ssh: a key made for this visit, the disc that tells the guest of it, and the door.

The guest is told as a build VM is, by cloud-init; so an image without that, and Windows, cannot be entered this way.

*Leaves behind:* nothing. *Undone by:* leaving the block, which deletes the keys; those of one that was killed go with
the next visit. *Safe to repeat:* yes.
"""

import contextlib
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from uuid import uuid4

from vmkiln.files.durable_file import write_whole
from vmkiln.files.held_folder import held_folder
from vmkiln.files.private_folder import private_folder
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.entrance.loopback_door import LOOPBACK, Link
from vmkiln.host.network import host_watch
from vmkiln.staging import cloud_init_seed, virtual_network
from vmkiln.staging.login_key import new_key
from vmkiln.waiting.off_loop import off_loop, off_loop_with

USER = cloud_init_seed.USER
HOST_NAME = "looked-at"
KEY, KNOWN_HOSTS, SEED = "key", "known_hosts", "seed.iso"
PREFIX = ".visit-"
# nothing of the user's goes along: no agent, and no password, which a hostile image would ask for
REFUSED = (
    "BatchMode=yes", "ClearAllForwardings=yes", "IdentitiesOnly=yes", "IdentityAgent=none",
    "PreferredAuthentications=publickey", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
)  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """What a VM needs to be entered: its link, and the disc; the folder has what ssh needs."""

    link: Link
    seed: Path
    folder: Path

    def command(self, port: int) -> str:
        """How the user enters, as a line for a shell; nothing of the user's goes along. Pure."""
        named = [text for option in (*REFUSED, *self._files()) for text in ("-o", option)]
        return shlex.join(["ssh", "-F", "none", *named, "-p", str(port), f"{USER}@{LOOPBACK}"])

    def _files(self) -> tuple[str, ...]:
        """The key, and whom ssh knows, as ssh_config(5) reads paths: in quotes, a percent sign twice; pure."""
        key, known = (str(self.folder / name).replace("%", "%%") for name in (KEY, KNOWN_HOSTS))
        return f'IdentityFile="{key}"', f'UserKnownHostsFile="{known}"', f"HostKeyAlias={HOST_NAME}"


@contextlib.asynccontextmanager
async def prepared(workplace: Path) -> AsyncIterator[Visit]:
    """The keys and the disc of one visit, in a folder of their own. Raises: `HostUnfit`, `StorageFailed`."""
    await off_loop(private_folder, workplace)
    network = virtual_network.decide(await host_watch.host_addresses(), is_windows=False)
    subnet = network.build_vm_subnet
    async with off_loop_with(lambda: held_folder(workplace, PREFIX)) as folder:
        login, host_key = new_key("vmkiln-visit"), new_key("host")
        await off_loop(write_whole, folder / KEY, login.private.encode())
        await off_loop(write_whole, folder / KNOWN_HOSTS, f"{HOST_NAME} {host_key.public}\n".encode())
        contents = cloud_init_seed.contents(
            instance_id=str(uuid4()), host_name=HOST_NAME, network=network, login=login, host_key=host_key
        )
        await make_iso(folder / SEED, contents, label=cloud_init_seed.LABEL)
        router = IPv4Interface(f"{subnet.router}/{subnet.prefix.prefixlen}")
        link = Link(subnet.tap, subnet.mac, subnet.address, router, virtual_network.SSH_PORT)
        yield Visit(link, folder / SEED, folder)
