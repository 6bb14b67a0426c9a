"""Windows templates of other people against the WinRM double: real Packer, our forwarder, and what a build gives it.

A step's script is a stand-in where the template names one on the Internet, and no PowerShell runs in the double: what
is shown is that each template is carried out to its end, not that its scripts work. Rounds of updates are three in
place of twelve, of which the first restarts the machine.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from corpus_build import Built
from stand_ins.windows_machine import WindowsMachine
from windows_bench import WindowsBench

from vmkiln.errors import VmkilnError
from vmkiln.run.steps import CUSTOMIZE, VALIDATIONS, windows_steps
from vmkiln.template.image_template import ImageTemplate
from vmkiln.windows.steps import Copied, PowerShell, Restart, Update, WindowsDeprovision, WindowsStep, copied

STAND_IN = "# a stand-in: the script that the template names is on the Internet\n"
ROUNDS = 3
AT_ONCE = 8
SECONDS = 1200


def carried_out(templates: Mapping[str, ImageTemplate], folder: Path) -> dict[str, Built]:
    """How each ended, by its name: `ran`, or `failed` and why."""
    return asyncio.run(_all_of(templates, folder))


async def _all_of(templates: Mapping[str, ImageTemplate], folder: Path) -> dict[str, Built]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, template: ImageTemplate) -> Built:
        async with turn:
            return await _carried_out(template, folder / name)

    tasks = {name: asyncio.create_task(one(name, template)) for name, template in templates.items()}
    return {name: await task for name, task in tasks.items()}


async def _carried_out(template: ImageTemplate, folder: Path) -> Built:
    folder.mkdir()
    (folder / "stand-in").write_text(STAND_IN)
    stand_in = copied(folder / "stand-in")
    copies: dict[str, Copied] = {item.path: stand_in for item in template.scripts}
    places = tuple(copies)
    try:
        customize = windows_steps(template.properties.customize, copies, where=CUSTOMIZE)
        validations = windows_steps(template.properties.validation.in_vm_validations, copies, where=VALIDATIONS)
        phases = {"customize": (*customize, WindowsDeprovision()), "validate": validations}
        for name, steps in phases.items():
            if steps and (why := await _phase(folder / name, steps)):
                return Built("failed", f"{name}: {why}", places)
    except VmkilnError as error:
        return Built("failed", error.message, places)
    return Built("ran", "", places)


def _played(step: WindowsStep) -> WindowsStep:
    """The step with fewer rounds, and with an exit code that it takes for success."""
    match step:
        case Update():
            return dataclasses.replace(step, rounds=ROUNDS)
        case PowerShell(script=script, valid_exit_codes=codes) if 0 not in codes:
            lines = script if isinstance(script, tuple) else ()
            return dataclasses.replace(step, script=(*lines, f"# double: exit {codes[0]}"))
        case _:
            return step


async def _phase(folder: Path, steps: tuple[WindowsStep, ...]) -> str:
    """Why a phase did not come to its end with every step done; '' when it did."""
    fewer = [_played(step) for step in steps]
    bench = WindowsBench(folder, WindowsMachine(), seconds=SECONDS)
    ended = await bench.build(*fewer)
    if ended.status != 0:
        step = ended.watch.current
        return f"{step.name if step else 'login'}: {ended.watch.error or 'not over in time'}"
    if not ended.watch.is_complete.is_set() or ended.watch.untrue.done():
        return f"the steps were not told in their order: {ended.watch.step} of {len(steps)}"
    restarts = sum(isinstance(step, Restart) for step in steps) + sum(isinstance(step, Update) for step in steps)
    if ended.machine.resets != restarts:
        return f"{ended.machine.resets} restarts, and not {restarts}"
    return "" if "double failed" not in "\n".join(ended.machine.journal) else "the double failed"
