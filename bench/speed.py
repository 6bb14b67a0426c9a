"""What a build costs: warm, kept or cold, its end, its log, each against plain tools that do the same; from one call.

    python bench/speed.py [--rounds N] [--lines N] [--minutes N] [--row NAME ...] [--json]

flatten         flattening, hashing and publishing a disk / `cp --sparse=always` and `sha256sum` of the same bytes
targets         distributing to three targets (gallery, managed image, VHD) / to one, a VHD and a managed image
cold            a build that installs a package, its VM booted / plain `packer build` (qemu builder) of the same
warm            the same, its VM going on from a saved one / plain `packer build`
gates           the same with the boot gate on / plain `packer build`
lines           a step that prints so many lines / the same step through plain Packer; the step alone
at-once         two builds at the same time, both going on / one
virt-customize  a build going on / `virt-customize --install` of a copy of the source (Debian's libguestfs-tools)
kept            a build of five equal customizers with the last edited, and with nothing edited / the same booted
checkpoint      the seconds that Packer waits for each checkpoint while those are made
held            the seconds from the failure of a step until a shell in its VM, which is on disk by then, has answered
ssh             from the start of a build VM until its ssh server answers, going on from a saved one / booted
restores        the same for two that go on at the same time / one
group           from the start of a container group to Packer's first line, going on / booted

The sides take turns: in each round each does its work once, and serves every row that needs it. Each ratio is of the
medians, and every number is printed. All VMs have 1 CPU and 3584 MiB, all disks 4 GiB, and plain Packer's the same
`-cpu`. What fails is told in its rows, and the others go on. What a build goes on from is made before the first round.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from against_packer import source_image
from speed_rows import builds, disks, kept, starts
from speed_rows.row import Measured, Row, Work, as_data, as_text, in_turns, works_for

from vmkiln.preparation import opened_store, prepared_host
from vmkiln.settings_sources import read_settings

ROWS = (*disks.ROWS, *builds.ROWS, *kept.ROWS, *starts.ROWS)
NAMES = list(dict.fromkeys(row.name for row in ROWS))
WITHOUT_VM = {row.name for row in disks.ROWS}


def tell(text: str) -> None:
    """Say how far it is, at once: whoever ends this early has the numbers up to there."""
    print(text, file=sys.stderr, flush=True)


async def measured(rows: list[Row], options: argparse.Namespace) -> Measured:
    """Take all measures of these rows, in turns."""
    wanted = frozenset(name for row in rows for name in row.measures)
    image = source_image()
    async with contextlib.AsyncExitStack() as stack:
        found: list[Work] = []
        if any(row.name in WITHOUT_VM for row in rows):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmkiln-speed-", dir="/var/tmp")))
            found += await stack.enter_async_context(disks.works(image, folder))
        if any(row.name not in WITHOUT_VM for row in rows):
            settings = read_settings()
            store = stack.enter_context(opened_store(settings, tell))
            host = await stack.enter_async_context(prepared_host(settings, store, tell))
            base, start = await starts.saved_base_of(host, image, tell)
            found += [*starts.works(host, base, start), *builds.works(image, lines=options.lines)]
            found += kept.works(image, tell)
        works = works_for(found, wanted)
        return await in_turns(works, wanted, rounds=options.rounds, most_seconds=60 * options.minutes, tell=tell)


def main() -> None:
    """Measure the rows that are asked for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many times each side works (default 5)")
    parser.add_argument("--lines", type=int, default=60_000, help="how many lines the talkative step prints")
    parser.add_argument("--minutes", type=float, default=240, help="what takes longer is left out (not in round 1)")
    parser.add_argument("--row", action="append", choices=NAMES, metavar="NAME", help="only these rows")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    options = parser.parse_args()
    rows = [row for row in ROWS if row.name in (options.row or NAMES)]
    found = asyncio.run(measured(rows, options))
    tell(f"load of the machine: {' '.join(str(round(load, 1)) for load in os.getloadavg())}")
    for row in rows:
        data = as_data(row, found)
        print(json.dumps(data) if options.json else as_text(data))


if __name__ == "__main__":
    main()
