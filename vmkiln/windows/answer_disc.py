"""The read-only disc of one run that makes a generalized Windows a VM which the run can log in to.

The answer lies on it under both names that set-up looks for. An agent of the image that reads such discs, too, finds
`meta-data` and `user-data` that change nothing. Names are longer than the 8.3 letters of a plain disc, so it is made
with Joliet's.

*Leaves behind:* the disc, in the run's folder (mode 0700). *Undone by:* the deletion of the run's folder.
*Safe to repeat:* with a new file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.windows import scripts
from vmkiln.windows.answer_file import Answer, answer_file
from vmkiln.windows.run_login import HOST_NAME, USER
from vmkiln.windows.way_out import told

LABEL = "cidata"
ANSWER_NAMES = ("Autounattend.xml", "Unattend.xml")


@dataclass(frozen=True)
class GuestAddress:
    """The VM's place in its network: the addresses as text, `prefix` the length of its subnet's; `dialler` may log in.

    `mac` is the VM's own, with colons; `dialler` is the container group's address.
    """

    mac: str
    address: str
    prefix: int
    router: str
    name_server: str
    dialler: str


def contents(
    answer: Answer, address: GuestAddress, *, instance_id: str, way_out: GuestWayOut = STRAIGHT_OUT
) -> Mapping[str, str | bytes]:
    """The disc's files by name; pure. Those that hold secrets are the answer, `run.json` and `listener.pfx`.

    Raises: as `way_out.told`.
    """
    certificate = answer.login.certificate
    run = {
        "user": USER,
        "password": answer.login.password,
        "certificatePassword": certificate.pfx_password,
        "thumbprint": certificate.thumbprint,
        "hostName": HOST_NAME,
        "mac": address.mac,
        "address": address.address,
        "prefix": address.prefix,
        "router": address.router,
        "nameServer": address.name_server,
        "containerGroup": address.dialler,
        **told(way_out),
    }
    text = answer_file(answer)
    return {
        **dict.fromkeys(ANSWER_NAMES, text),
        scripts.FIRST_BOOT: scripts.text(scripts.FIRST_BOOT),
        scripts.DEFAULT_DEPROVISIONING: scripts.text(scripts.DEFAULT_DEPROVISIONING),
        "run.json": json.dumps(run),
        "listener.pfx": certificate.pfx,
        "meta-data": json.dumps({"instance-id": instance_id}),
        "user-data": "#cloud-config\n{}\n",
    }


async def make_disc(image: Path, files: Mapping[str, str | bytes]) -> None:
    """Write the disc, for its owner alone. Raises: `HostUnfit` when no program for it is installed."""
    await make_iso(image, files, label=LABEL)
