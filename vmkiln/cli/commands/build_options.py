"""What `vmkiln build` was asked for, and as much of it as is kept with its run, so that the run can be built again.

Kept are names of files, never what is in them: they are read again, as they are then. Of a parameter that was given as
`NAME=VALUE` the name is kept alone, for its value may be a secret; so it is of what `listKeys()` and the like answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from vmkiln.cli.template_options import (
    NO_SUBSCRIPTION,
    GivenTemplate,
    egress_of,
    is_file,
    read_allowances,
    read_egress,
    read_given,
)
from vmkiln.errors import InputError
from vmkiln.run_state import new_run_id

if TYPE_CHECKING:
    from vmkiln.run.run_context import RunRequest
    from vmkiln.store.run_facts import BuiltOfFact

STANDARD_INPUT = "-"
HOLD_MINUTES = 60


class OnError(StrEnum):
    """What becomes of the build VM when a customizer fails."""

    CLEANUP = "cleanup"
    HOLD = "hold"


@dataclass(frozen=True)
class BuildOptions:
    """What `vmkiln build` was asked for, but for how it tells of it."""

    template: Path
    parameters: Sequence[str] = ()
    resource_group: str = "vmkiln"
    subscription: str = NO_SUBSCRIPTION
    location: str = ""
    template_name: str = ""
    references: Sequence[str] = ()
    allow_local_files: bool = False
    egress: Sequence[str] = ()
    allow_egress: Sequence[str] = ()
    virtual_networks: Sequence[Path] = ()
    cold: bool = False
    no_cache: bool = False
    max_age: float = 24
    on_error: OnError = OnError.CLEANUP
    hold_for: int | None = None

    @property
    def held_seconds(self) -> int:
        """How long a failed VM is held; 0: not at all. Raises: `InputError` for a time without a hold; pure."""
        if self.on_error is not OnError.HOLD and self.hold_for is not None:
            raise InputError("`--hold-for` says how long a failed VM is held", hint="add `--on-error hold`")
        return (self.hold_for or HOLD_MINUTES) * 60 if self.on_error is OnError.HOLD else 0


def given_of(options: BuildOptions) -> GivenTemplate:
    """The template that is to be built, with what a build finds here.

    Raises: `InputError` for a file that cannot be read or settings that are wrong, `TemplateInvalid` for mistakes.
    """
    return read_given(
        options.template,
        options.parameters,
        resource_group=options.resource_group,
        subscription=options.subscription,
        location=options.location,
        template_name=options.template_name,
        references=options.references,
        allow_local_files=options.allow_local_files,
        virtual_networks=options.virtual_networks,
    )


def request_of(options: BuildOptions, given: GivenTemplate) -> RunRequest:
    """What a new run is asked for. Raises: `InputError` for what does not go together."""
    from vmkiln.audit.act import name_of, operator
    from vmkiln.run.run_context import RunRequest

    resolved = given.resolved
    allowances = read_allowances(options.allow_egress)
    asked = read_egress(options.egress)
    egress_of(given, asked, allowances)
    return RunRequest(
        run_id=new_run_id(),
        template_name=resolved.name,
        resource_group=options.resource_group,
        template=resolved.image_template,
        resolved=resolved.resolved,
        local_files=given.local_files,
        allowances=allowances,
        egress=asked,
        mask=resolved.mask,
        parameters=resolved.parameters,
        virtual_networks=given.virtual_networks,
        uses_checkpoints=not options.no_cache,
        most_checkpoint_age_seconds=options.max_age * 3600,
        held_seconds=options.held_seconds,
        may_hold_running=options.on_error is OnError.HOLD,
        built_of=as_fact(options),
        begun_by=name_of(operator()),
    )


def as_fact(options: BuildOptions) -> BuiltOfFact:
    """What is kept of it with its run: every file by its whole path."""
    from vmkiln.arm_template.parameters.given_references import is_answer

    given = [text for text in options.parameters if not _is_a_file(text)]
    answers = [text for text in options.references if not _is_a_file(text) and is_answer(text)]
    return {
        "template": "" if _is_standard_input(options.template) else str(options.template.absolute()),
        "parameter_files": [_absolute(text) for text in options.parameters if _is_a_file(text)],
        "given_names": [text.partition("=")[0] for text in given],
        "resource_group": options.resource_group,
        "subscription": options.subscription,
        "location": options.location,
        "template_name": options.template_name,
        "given_answers": [text.partition("=")[0].strip() for text in answers],
        "references": [
            _absolute(text) if _is_a_file(text) else text for text in options.references if text not in answers
        ],
        "allow_local_files": options.allow_local_files,
        "egress": [_absolute(text) if "/" in text else text for text in options.egress],
        "allow_egress": list(options.allow_egress),
        "virtual_networks": [str(path.absolute()) for path in options.virtual_networks],
        "cold": options.cold,
        "no_cache": options.no_cache,
        "max_age": options.max_age,
        "held_minutes": options.held_seconds // 60,
    }


def of_fact(fact: BuiltOfFact, *, run_id: str, template: Path | None, parameters: Sequence[str]) -> BuildOptions:
    """What a run's command was asked for, with a template in the place of its own where one is given, and its values.

    Raises: `InputError` for what was not kept and is not given; pure but for a look whether a parameter is a file.
    """
    if template is None and not fact["template"]:
        raise InputError(
            f"run {run_id[:8]} was built of a template from standard input, which is not kept",
            hint=f"`vmkiln run retry {run_id[:8]} --template FILE` builds this one",
        )
    has_files = any(_is_a_file(text) for text in parameters)  # which may have any of them
    given = {text.partition("=")[0] for text in parameters}
    if missing := [name for name in fact["given_names"] if name not in given and not has_files]:
        again = " ".join(f"--parameters {name}=…" for name in missing)
        raise InputError(
            f"run {run_id[:8]} was given {', '.join(f'`{name}`' for name in missing)} on its command line, "
            "and no value of those is kept",
            hint=f"`vmkiln run retry {run_id[:8]} {again}`",
        )
    if answers := fact.get("given_answers"):
        raise InputError(
            f"run {run_id[:8]} was given {', '.join(f'`{name}`' for name in answers)} on its command line, and what "
            "was given is not kept",
            hint="`vmkiln build` with `--reference FILE` can be built again: files are read anew",
        )
    minutes = fact["held_minutes"]
    return BuildOptions(
        template=template or Path(fact["template"]),
        parameters=[*fact["parameter_files"], *parameters],
        resource_group=fact["resource_group"],
        subscription=fact["subscription"],
        location=fact["location"],
        template_name=fact["template_name"],
        references=fact["references"],
        allow_local_files=fact["allow_local_files"],
        egress=fact["egress"],
        allow_egress=fact["allow_egress"],
        virtual_networks=[Path(path) for path in fact["virtual_networks"]],
        cold=fact["cold"],
        no_cache=fact["no_cache"],
        max_age=fact["max_age"],
        on_error=OnError.HOLD if minutes else OnError.CLEANUP,
        hold_for=minutes or None,
    )


def _is_standard_input(template: Path) -> bool:
    return str(template) == STANDARD_INPUT


def _is_a_file(text: str) -> bool:
    """Whether `FILE` or `@FILE` is meant, as `template_options` has it."""
    return "=" not in text or is_file(Path(text.removeprefix("@")))


def _absolute(text: str) -> str:
    return str(Path(text.removeprefix("@")).absolute())
