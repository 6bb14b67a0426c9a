"""A Windows image is booted before anything is built from it, and the way is found by which its login can be made.

Each way is tried by a run of its own, on a throw-away overlay, in the jail and the network of every run: Packer logs in
over WinRM, with the certificate of the run, and runs a script. The first way that works is kept by the image's digest,
and builds use it. Nothing is built, and the image stays as it is.

*Leaves behind:* a run in the history for each way that was tried, with its log and its pictures; a verdict by the
digest of the image. *Undone by:* `vmkiln run delete`; the verdicts of later runs. *Safe to repeat:* yes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Accelerator
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.run.guest.login_way import LoginWay
from vmkiln.run.run_context import BuildHost, RunRequest, Tell
from vmkiln.run.run_event import Notice
from vmkiln.run.workflow import execute
from vmkiln.run_failures import ContainerGroupLost, LoginTimedOut, RunTimedOut, ValidationFailed, VirtualMachineLost
from vmkiln.run_state import new_run_id
from vmkiln.staging.local_files import LocalFiles
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.template.template_file import read_image_template
from vmkiln.waiting.off_loop import off_loop
from vmkiln.windows.login_tag import TAG, TITLES, Hook, gate_of

RESOURCE_GROUP = "vmkiln-checks"
MINUTES = 45  # Packer waits 30 of them for WinRM
NO_LOGIN = (LoginTimedOut, RunTimedOut, ValidationFailed, VirtualMachineLost)


@dataclass(frozen=True)
class Tried:
    """A way that was tried: in which run, how long that took, why it did not work ('' when it did)."""

    hook: Hook
    run_id: str
    seconds: float
    problem: str = ""


def check_accelerator(host: BuildHost, *, may_be_emulated: bool) -> None:
    """Refuse to check where it would take hours and tell nothing. Raises: `HostUnfit`."""
    if host.accelerator is Accelerator.TCG and not may_be_emulated:
        raise HostUnfit(
            f"a Windows image is checked with KVM, and VMs are emulated on this machine ({host.accelerator_reason})",
            hint="check it on a host with KVM, or add `--emulated` and wait: set-up may take hours, or never end",
        )


async def login_found(
    host: BuildHost, image: SourceImage, tell: Tell, *, record: Callable[[RunRequest], None]
) -> tuple[LoginWay, tuple[Tried, ...]]:
    """The way by which Packer logs in to an image, and all that were tried; `record` gets each run before it begins.

    Raises: `ValidationFailed` when none works; what keeps any run from being made.
    """
    tried: list[Tried] = []
    for hook in Hook:
        request = request_of(image, hook)
        tell(Notice(f"logging in to {image.title}:{image.exact_version} {TITLES[hook]}: run {request.run_id[:8]}"))
        await off_loop(record, request)
        began, problem = time.monotonic(), ""
        try:
            await execute(host, request, tell)
        except ContainerGroupLost:
            raise
        except NO_LOGIN as error:
            problem = error.message
            tell(Notice(f"that way does not work: {problem}", is_warning=True))
        tried.append(Tried(hook, request.run_id, round(time.monotonic() - began, 1), problem))
        if not problem:
            row = VerdictRow(gate_of(hook), image.digest, request.run_id, tried[-1].seconds, host.store.now())
            await off_loop(host.store.verdicts.keep, row)
            return LoginWay(hook, row), tuple(tried)
    reasons = "; ".join(f"{TITLES[one.hook]}: {one.problem}" for one in tried)
    pictures = f"`vmkiln run screenshot {tried[-1].run_id[:8]} --picture FILE` has what its screen showed last"
    raise ValidationFailed(
        f"nobody can log in to {image.title}:{image.exact_version}: {reasons}", hint=f"it stays imported; {pictures}"
    )


def request_of(image: SourceImage, hook: Hook) -> RunRequest:
    """A run that only validates the image, its login made in this way; pure but for its id."""
    publisher, offer, sku = image.title.split(":")
    source = {"publisher": publisher, "offer": offer, "sku": sku, "version": image.exact_version}
    script = {"type": "PowerShell", "name": "login", "inline": ["exit 0"], "runElevated": True}
    body = {
        "name": f"check-{image.digest[:12]}-{hook}",
        "location": "local",
        "identity": {"type": "None"},
        "tags": {TAG: str(hook)},
        "properties": {
            "buildTimeoutInMinutes": MINUTES,
            "source": {"type": "PlatformImage", **source},
            "validate": {"sourceValidationOnly": True, "inVMValidations": [script]},
            "distribute": [],
        },
    }
    resolved = read_image_template(json.dumps(body), file_name="check")
    return RunRequest(
        run_id=new_run_id(),
        template_name=resolved.name,
        resource_group=RESOURCE_GROUP,
        template=resolved.image_template,
        resolved=resolved.resolved,
        local_files=LocalFiles(Path(), is_allowed=False),
    )
