"""Leave to enter the failed VM of a run that is held, on record before anybody sees anything of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmkiln.audit.act_names import RUN_SHELL, run_id_of
from vmkiln.cli.audited import audited

if TYPE_CHECKING:
    from vmkiln.store.database import Store
    from vmkiln.store.rows import RunRow


def take_leave(store: Store, run: RunRow) -> None:
    """Have leave to enter: of the service whose user is logged in, else it is an act of this machine's user.

    Raises: `ArmError` when it is refused; `InputError`, `ServiceAway`, `StorageFailed`.
    """
    import asyncio

    if asyncio.run(_has_leave(run)):
        return
    with audited(store, RUN_SHELL, run_id_of(run.resource_group, run.template_name, run.run_id, kept=run.template_id)):
        pass


async def _has_leave(run: RunRow) -> bool:
    """Ask the service of the context in use whether who is logged in there may enter, which it records.

    False where nobody has to be asked: without such a context the user of this state directory is its operator, and
    only they have a run of `vmkiln build`. Raises: `ArmError` when it is refused; `InputError`, `ServiceAway`.
    """
    import os

    from vmkiln.azure_names import NEWEST_API_VERSION
    from vmkiln.cli.arm_client import remote_client
    from vmkiln.cli.contexts import contexts_file, read_contexts
    from vmkiln.errors import ArmError, InputError

    context = read_contexts(contexts_file(os.environ)).in_use
    if context is None or not run.template_id:
        return False
    path = f"{run.template_id}/providers/Vmkiln.Builds/runs/{run.run_id}/shell"
    async with remote_client(context) as client:
        try:
            await client.request("POST", path, api_version=NEWEST_API_VERSION)
        except ArmError as error:
            if error.status != 404:
                raise
            raise InputError(
                f"{context.url} does not know the run {run.run_id[:8]}, or you may not read it",
                hint="`vmkiln context use` chooses the service whose run it is",
            ) from error
    return True
