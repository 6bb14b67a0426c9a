"""A process that is killed with a notice in hand: the next one sends it, with the same id."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from notice_receivers import hooked

from vmkiln.notice.receivers import receivers_of
from vmkiln.notice.sending import Notices, Pace
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.notices.outbox_table import NoticeState
from vmkiln.store.rows import RunRow

ROOT = Path(__file__).parents[2]
SENDER = """
import asyncio, sys
from pathlib import Path
from vmkiln.notice.receivers import receivers_of
from vmkiln.notice.sending import Notices, Pace
from vmkiln.settings import Settings
from vmkiln.store.database import opened
home = Path(sys.argv[1])
settings = Settings(home, notice_webhook=sys.argv[2], notice_webhook_secret_file=home / "secret")
with opened(settings.database) as store:
    asyncio.run(Notices(settings, store, receivers_of(settings), pace=Pace(claim_seconds=0)).go_round())
"""


def test_what_a_killed_process_had_in_hand_is_sent_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of at least twenty-four bytes\n")
    with hooked() as hook, opened(Settings(tmp_path).database) as store:
        store.outbox.mark()
        now = store.now()
        store.runs.add(RunRow("r1", "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, now, None))
        store.runs.move("r1", expected=[RunState.RUNNING], state=RunState.FAILED)
        hook.is_silent = True
        command = [sys.executable, "-c", SENDER, str(tmp_path), hook.url]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            was_asked = hook.is_asked.wait(120)
            process.kill()
        assert was_asked
        hook.is_silent = False
        settings = Settings(tmp_path, notice_webhook=hook.url, notice_webhook_secret_file=tmp_path / "secret")
        asyncio.run(Notices(settings, store, receivers_of(settings), pace=Pace(claim_seconds=0)).go_round())
        first, second = (json.loads(body) for _, body in hook.came)
        assert first == second
        assert store.outbox.counts() == {("webhook", NoticeState.SENT): 1}
