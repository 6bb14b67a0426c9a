"""`vmkiln build` on the terminal that it is given, with a stand-in for all that a build does but telling of it.

    python -m stand_ins.live_build RELEASE WORDS...

The build tells of its first step and goes on until it is cancelled; its clean-up lasts until there is the file RELEASE.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmkiln.cli import main
from vmkiln.cli.commands import build
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_context import Tell
from vmkiln.run.run_event import LogLine, Notice, PhaseStarted, StepStarted
from vmkiln.run_state import Phase

RELEASE = Path(sys.argv[1])


async def built(_request: object, tell: Tell, **_: object) -> dict[str, Any]:
    """Never comes to its end by itself."""
    tell(PhaseStarted(Phase.CUSTOMIZING, datetime.now(UTC)))
    tell(StepStarted(Phase.CUSTOMIZING, 0, 1, "install"))
    tell(LogLine(Phase.CUSTOMIZING, "hello from the guest", Speaker.GUEST))
    tell(Notice("the step goes on"))
    try:
        await asyncio.Event().wait()
    finally:
        while not RELEASE.exists():  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.05)
        tell(Notice("everything temporary is deleted"))
    raise AssertionError("it was cancelled")


if __name__ == "__main__":
    build._build = built  # type: ignore[assignment]
    main.main(sys.argv[2:])
