"""How much CPU the command line takes to start, as a multiple of `python -c pass`, which is measured with it.

    python bench/command_line.py [--rounds N] [--runs N]

CPU time of a process and its children, from the kernel (wait4(2)), the median of N rounds; in each round everything is
started once, so a busy machine slows all of it. Ends with status 1 when a limit is passed: 10 for help, version and
completion, 30 for `validate`, `explain CODE` and `run list` among N past runs.
"""

import argparse
import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow

ROOT = Path(__file__).parents[1]
BASE = "python -c pass"
HELP_TIMES, WORK_TIMES = 10.0, 30.0
HELP = (
    "--version",
    "--help",
    "run --help",
    "run list --help",
    "build --help",
    "serve --help",
    "template create --help",
)
COMPLETIONS = ("vmkiln ", "vmkiln run ", "vmkiln build --")
WORK = ("run list", "explain ResourceNotFound", f"validate {ROOT / 'examples/hello-linux/template.json'}")


def cpu_seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """User and system time of a process and of those that it waited for. Raises: `SystemExit` when it fails."""
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    process = os.posix_spawn(arguments[0], arguments, environment, file_actions=silent)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def fill(home: Path, runs: int) -> None:
    """Past runs in a state directory."""
    now = datetime.now(UTC)
    with opened(Settings(home).database) as store:
        store.runs.add_many(
            [
                RunRow(
                    f"{number:08}-0000-0000-0000-000000000000", "web", "bench", {}, "Succeeded", "", "", "", "", {},
                    now - timedelta(minutes=number), now - timedelta(minutes=number - 3),
                )
                for number in range(runs)
            ]
        )  # fmt: skip


def measured(rounds: int, home: Path) -> dict[str, float]:
    """The median CPU seconds of everything that is measured, by its name."""
    # compiled modules are kept, as they are wherever this is installed
    plain = {"HOME": str(home), "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    program = str(Path(sys.executable).parent / "vmkiln")
    calls = {BASE: ([sys.executable, "-c", "pass"], plain)}
    for words in (*HELP, *WORK):
        calls[f"vmkiln {words}"] = ([program, *words.split()], plain)
    for line in COMPLETIONS:
        asked = {"_VMKILN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
        calls[f"TAB after `{line}`"] = ([program], plain | asked)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, (arguments, environment) in calls.items():
            seconds = cpu_seconds(arguments, environment)
            if number:  # the first round compiles modules
                found[name].append(seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.runs)
        found = measured(options.rounds, Path(folder))
    base = found[BASE]
    is_over = False
    work = {f"vmkiln {words}" for words in WORK}
    for name, seconds in found.items():
        limit = WORK_TIMES if name in work else HELP_TIMES
        is_over |= seconds / base > limit
        verdict = "" if name == BASE else f"{seconds / base:5.1f} times (limit {limit:.0f})"
        print(f"{name.replace(str(ROOT) + '/', ''):<52} {seconds * 1000:6.0f} ms  {verdict}")
    raise SystemExit(1 if is_over else 0)


if __name__ == "__main__":
    main()
