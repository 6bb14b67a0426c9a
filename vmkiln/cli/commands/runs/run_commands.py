"""`vmkiln run`: its commands, each of which is imported when it is called."""

from typing import ClassVar

import typer

from vmkiln.cli.lazy_group import LazyGroup, Listed


class RunCommands(LazyGroup):
    """What is done with runs, in the order of the help."""

    listed: ClassVar = {
        "timeline": Listed(
            "runs.timeline",
            "timeline",
            "Print where a run's time went, part by part, with CPU time and memory, beside what is usual.",
        ),
        "failure": Listed(
            "runs.failure",
            "failure",
            "Print why a run failed, as far as is known: where, the likely cause, what helps, the last "
            "lines, what changed.",
        ),
        "list": Listed("runs.run", "list_", "List runs, the newest first."),
        "show": Listed(
            "runs.run",
            "show",
            "Show a run: state, outputs, where its time went; or what its VMs' processes were held to.",
        ),
        "flows": Listed(
            "runs.run",
            "flows",
            "Print what a run's VMs connected to and asked for: with the step, name, bytes and verdict of each.",
        ),
        "receipts": Listed(
            "runs.run",
            "receipts",
            "Print what was made for a run for a while: when it was made, deleted, and seen to be gone.",
        ),
        "logs": Listed("runs.run_logs", "logs", "Print a run's customization log; with -f, follow it live."),
        "cancel": Listed(
            "runs.acting", "cancel", "Cancel a run, of the service or of a `vmkiln build`, and wait until it has ended."
        ),
        "retry": Listed(
            "runs.retry",
            "retry",
            "Run the image template of an ended run again, as it is now, and follow the log; exit "
            "codes as `template run`.",
        ),
        "wait": Listed(
            "runs.acting",
            "wait",
            "Wait until a run has ended; exit code 1 when it failed, 4 when only a part was published.",
        ),
        "delete": Listed(
            "runs.acting",
            "delete",
            "Delete what is on record of an ended run, with its staging resource group; images that it made stay.",
        ),
        "prune": Listed(
            "runs.acting",
            "prune",
            "Delete old runs of `vmkiln build` with their logs; runs of image templates and VHDs stay, "
            "and every image.",
        ),
        "export": Listed(
            "runs.acting",
            "export",
            "Write a run's plan, events, logs and settings to one file that a report can carry, without secrets.",
        ),
        "release": Listed(
            "runs.holding",
            "release",
            "Let the failed VM of a run go before its time is over, and delete what is kept of it.",
        ),
        "screenshot": Listed(
            "runs.run_logs",
            "screenshot",
            "Print what the failed VM of a run showed: the end of its serial console. A Windows VM has a screen, too.",
        ),
        "shell": Listed(
            "runs.holding",
            "shell",
            "Enter the failed VM of a run that is held (`vmkiln build --on-error hold`); one shell at a time.",
            takes_all=True,
        ),
    }


app = typer.Typer(cls=RunCommands, no_args_is_help=True, help="Runs: past and live ones, their phases, their logs.")
