"""A control group round what makes the images that runs start from: no run has begun, and there is none of a run's.

Programs and namespaces that are started in the block, by whoever is called in it, are in the group; where none is
delegated there is none, and limits of single processes are all there is.

*Leaves behind:* as `run_group.py`. *Undone by:* leaving the block. *Safe to repeat:* yes.
"""

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

from vmkiln.host.confinement import run_group
from vmkiln.host.confinement.run_group import RunGroup
from vmkiln.waiting.off_loop import off_loop_with

PREFIX = "base-"
_current: ContextVar[RunGroup | None] = ContextVar("work_group", default=None)


@contextlib.asynccontextmanager
async def held(*, guests_mib: int = 0) -> AsyncIterator[None]:
    """The group, for VMs with so much memory together and the programs beside them."""
    limits = run_group.limits_of(guests_mib=guests_mib)
    async with off_loop_with(lambda: run_group.held(f"{PREFIX}{uuid.uuid4()}", limits)) as group:
        token = _current.set(group)
        try:
            yield
        finally:
            _current.reset(token)


def current() -> RunGroup | None:
    """The group that this task works in, if any."""
    return _current.get()


def joining(then: Callable[[], None] | None = None) -> Callable[[], None] | None:
    """What a new process is to do before its program begins: join the group, and `then`; None for nothing at all."""
    group = current()
    if group is None:
        return then

    def join() -> None:
        group.add(os.getpid())
        if then is not None:
            then()

    return join
