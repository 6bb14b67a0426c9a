"""`--check` of `vmkiln image import`: a Windows image is booted, and the way to log in to it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmkiln.audit.act_names import RUN, template_id
from vmkiln.cli.audited import audited
from vmkiln.cli.output import say
from vmkiln.errors import InputError, VmkilnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vmkiln.platform_images.image_cache import SourceImage
    from vmkiln.run.run_context import RunRequest
    from vmkiln.run.run_event import RunEvent
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store

Imported = tuple["SourceImage", dict[str, Any] | None, VmkilnError | None]  # the image, its check, why that failed


def refuse_odd_options(os_type: str, *, check: bool, emulated: bool) -> None:
    """Refuse what has no meaning before anything is copied. Raises: `InputError`; pure."""
    if check and os_type != "Windows":
        raise InputError("--check is for images of Windows", hint="leave it out, or add `--os-type Windows`")
    if emulated and not check:
        raise InputError("--emulated says that an image may be checked without KVM", hint="add `--check`")


async def imported_and_checked(
    settings: Settings, store: Store, importing: Callable[[], Awaitable[SourceImage]], *, may_be_emulated: bool
) -> Imported:
    """Import, and try to log in; the machine is looked at first. That no login works is given, for the image stays.

    Raises: as both.
    """
    from vmkiln.preparation import prepared_host
    from vmkiln.run.gates import login_check
    from vmkiln.run_failures import ValidationFailed

    async with prepared_host(settings, store, say) as host:
        login_check.check_accelerator(host, may_be_emulated=may_be_emulated)
        image = await importing()

        def record(request: RunRequest) -> None:
            template = template_id(request.resource_group, request.template_name)
            with audited(store, RUN, template, runId=request.run_id):
                pass

        try:
            way, tried = await login_check.login_found(host, image, _tell, record=record)
        except ValidationFailed as error:
            return image, None, error
    data = [
        {"way": str(one.hook), "run_id": one.run_id, "seconds": one.seconds, "problem": one.problem} for one in tried
    ]
    return image, {"login": str(way.hook), "accelerator": str(host.accelerator), "tried": data}, None


def _tell(event: RunEvent) -> None:
    from vmkiln.run.run_event import Notice

    if isinstance(event, Notice):
        say(f"warning: {event.text}" if event.is_warning else event.text)
