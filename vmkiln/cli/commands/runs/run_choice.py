"""Which runs a list shows: those in some states, those of one template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from vmkiln.cli.completing import names_of_runs
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless
from vmkiln.run_state import RunState

MOST_LISTED_RUNS = 1_000_000
NONE = "there is no run yet; `vmkiln build TEMPLATE` starts one"
NONE_CHOSEN = "no run is like that; without `--state` and `--template` all are listed"


def state_names(incomplete: str) -> list[str]:
    """The states of runs that begin so, for a shell that completes them."""
    return [str(state) for state in RunState if state.lower().startswith(incomplete.lower())]


StateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only runs in this state, such as Failed or Running; may be given more than once.",
        autocompletion=state_names,
    ),
]
OfTemplateOption = Annotated[
    str, typer.Option("--template", help="Only runs of the template of this name.", autocompletion=names_of_runs)
]


def none_listed(states: Sequence[RunState], template: str, ran: Sequence[str]) -> str:
    """What an empty list says; `ran` are the names of the templates of which there are runs. Pure."""
    if template and ran and (told := unknown_template(template, ran)):
        return told
    return NONE_CHOSEN if ran and (states or template) else NONE


def unknown_template(name: str, ran: Sequence[str]) -> str:
    """That there is no run of a template, with the name that was meant; '' when there is one. Pure."""
    from difflib import get_close_matches

    known = {one.lower(): one for one in ran}
    if name.lower() in known:
        return ""
    near = get_close_matches(name.lower(), known, n=1)
    guess = f"; did you mean `{harmless(known[near[0]])}`?" if near else ""
    return f"no run of a template `{harmless(name)}` is on record{guess}"


def read_states(words: Sequence[str] | None) -> tuple[RunState, ...]:
    """The states that are meant, in any case, several in one word with commas between; none when all are. Pure.

    Raises: `InputError` for what is no state.
    """
    from difflib import get_close_matches

    known = {state.lower(): state for state in RunState}
    found = []
    for word in (part.strip() for text in words or () for part in text.split(",")):
        if word.lower() not in known:
            near = get_close_matches(word.lower(), known, n=1)
            guess = f"did you mean `{known[near[0]]}`? " if near else ""
            raise InputError(
                f"--state: `{word}` is no state of a run", hint=f"{guess}the states are {', '.join(RunState)}"
            )
        found.append(known[word.lower()])
    return tuple(dict.fromkeys(found))
