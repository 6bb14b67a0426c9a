"""Rows of builds that begin behind what is kept, of making that, and of a failed VM that is put on disk and entered."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from against_packer import MOST_SECONDS, VMKILN, BuildFailed, vmkiln_template

from speed_rows.builds import BOTH, Builds
from speed_rows.row import Found, Row, Work

WORKED_MIB = 256  # of zeros hashed by each of the equal customizers: a few seconds under emulation
HELD_MINUTES = 30
BOOTED, EDITED, UNEDITED = "five customizers, booted", "the last of five edited", "nothing edited"
WAITED = "Packer waits for each checkpoint"
ON_DISK, ANSWERED = "until it is on disk", "until a shell has answered"
KNOWN = "hygiene and the search for keys when booted; known when nothing was edited; not the boot gate in either"
NO_GATE = "none: no image is made"
CHECKPOINT, UNEDITED_PART = "checkpoint", "nothing edited: "
ROWS = (
    Row("kept", "last of five equal customizers edited / cold", 0.20, BOTH, EDITED, BOOTED),
    Row("kept", "nothing edited / cold", 0.08, KNOWN, UNEDITED, BOOTED),
    Row("checkpoint", "making a checkpoint", 1.5, NO_GATE, WAITED),
    Row("held", "from a failure to a shell", 8, NO_GATE, ANSWERED, more=(ON_DISK,)),
)


def works(image: dict[str, str], tell: Callable[[str], None]) -> tuple[Work, ...]:
    """The works of these rows; `tell` gets the parts of a build with nothing edited; pure."""
    builds = Builds(image, first=1001)

    async def kept(folder: Path, wanted: frozenset[str]) -> Found:
        found: dict[str, float | list[float]] = {}
        one, two = (_five_steps(folder, edited) for edited in ("one", "two"))
        if BOOTED in wanted:
            found[BOOTED], _ = await builds.build(folder, *one, options=["--cold"])
        # each round makes its own checkpoints, and nobody else's
        _, summary = await builds.build(folder, *one, options=["--no-cache"], checkpoints="commands")
        found[WAITED] = [part["seconds"] for part in summary["timeline"] if part["kind"] == CHECKPOINT]
        if not found[WAITED]:
            raise BuildFailed("no checkpoint was made")
        if {EDITED, UNEDITED} & wanted:
            found[EDITED], summary = await builds.build(folder, *two, checkpoints="commands")
            if not summary["facts"].get("checkpoint"):
                raise BuildFailed("the edited build did not begin behind a checkpoint")
        if UNEDITED in wanted:
            found[UNEDITED], summary = await builds.build(folder, *two, checkpoints="commands")
            parts = (f"{part['kind']} {part['name']}".strip() + f" {part['seconds']} s" for part in summary["timeline"])
            tell(UNEDITED_PART + ", ".join(parts))
        return found

    async def held(folder: Path, _wanted: frozenset[str]) -> Found:
        return await asyncio.to_thread(_held, folder, vmkiln_template(image, "held", [["exit 7"]]))

    return Work(frozenset({BOOTED, EDITED, UNEDITED, WAITED}), kept), Work(frozenset({ON_DISK, ANSWERED}), held)


def _five_steps(folder: Path, edited: str) -> list[list[str]]:
    """Five customizers that do the same, each in a file of its own; the last one has `edited` in it; pure."""
    work = f"dd if=/dev/zero bs=1M count={WORKED_MIB} status=none | sha256sum | sudo tee -a /opt/bench-"
    return [[f"{work}{folder.name}-{number}", *([f"echo {edited}"] * (number == 5))] for number in range(1, 6)]


def _held(folder: Path, template: dict[str, object]) -> Found:
    """Seconds from a step's failure to the end of the command that holds its VM, and until a shell in it answered."""
    path = folder / "held.json"
    path.write_text(json.dumps(template))
    words = [VMKILN, "build", path, "--on-error", "hold", "--hold-for", str(HELD_MINUTES), "--progress", "plain"]
    failed, run_id, said = 0.0, "", list[str]()
    environment = {**os.environ, "VMKILN_CHECKPOINTS": "none"}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if not failed and "exit status: 7" in line:
                failed = time.monotonic()
            if found := re.search(r"is held until .*on disk .*`vmkiln run shell ([0-9a-f]+)` enters it", line):
                run_id = found[1]
    on_disk = time.monotonic() - failed
    if not failed or not run_id:
        raise BuildFailed(f"the failed VM was not put on disk: {''.join(said[-30:])}")
    begin = time.monotonic()
    try:
        words = [VMKILN, "run", "shell", run_id, "true"]
        shell = subprocess.run(words, check=False, capture_output=True, text=True, timeout=MOST_SECONDS)
        answered = time.monotonic() - begin
    finally:
        released = [VMKILN, "run", "release", run_id]
        subprocess.run(released, check=False, capture_output=True, timeout=600)
    if shell.returncode != 0:
        raise BuildFailed(f"no shell answered: {shell.stderr[-1000:]}")
    return {ON_DISK: on_disk, ANSWERED: on_disk + answered}
