"""A fleet's shared directory is full while runs publish, then has room again; what became of them, as JSON.

unshare --user --map-current-user --keep-caps --mount python tests/fleet/full_store.py DIRECTORY
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fleet.chaos import GALLERY, fill
from fleet.plain_fleet import plain_fleet
from in_process import wait_for

from vmkiln.store.rows import RunRow

RUNS = 8
SMALL, LARGE = "size=1m", "size=256m"  # an image takes a quarter of a MiB
SECONDS = 240


def main(directory: Path) -> None:
    with plain_fleet(directory) as fleet:
        shared, aside = directory / "shared", directory / "aside"
        shutil.copytree(shared, aside)
        subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL, "objects", shared], check=True)
        shutil.copytree(aside, shared, dirs_exist_ok=True)
        for name in ("a", "b"):
            fleet.start(name, STUB_CPUS="4")
        wait_for(lambda: len(fleet.store.hosts.live()) == 2, seconds=SECONDS)
        run_ids = fill(fleet.store, range(RUNS))

        def runs() -> list[RunRow]:
            return list(fleet.store.runs.by_id(run_ids).values())

        def is_full() -> bool:
            return any("the image is kept here" in worker.log.read_text() for worker in fleet.workers)

        wait_for(lambda: is_full() or any(run.ended and run.state != "Succeeded" for run in runs()), seconds=SECONDS)
        while_full = Counter(run.state for run in runs())
        subprocess.run(["mount", "-o", f"remount,{LARGE}", shared], check=True)
        wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
        images = Counter(image.run_id for image in fleet.store.images.list(prefix=f"{GALLERY}/versions/"))
        found = {
            "while_full": while_full,
            "states": Counter(run.state for run in runs()),
            "attempts": Counter(run.attempt for run in runs()),
            "images": Counter(images.values()),
            "messages": sorted({run.message for run in runs() if run.message}),
            "parts": [str(path) for path in shared.rglob("*.part")],
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
