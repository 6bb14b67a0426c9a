"""A template that takes too long or too much is killed with its process, and the next one is tried."""

import asyncio
import contextlib
import json
import queue
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.errors import HostUnfit, TemplateInvalid
from vmkiln.trial import trials as trials_module
from vmkiln.trial.trial_program import evaluate_all
from vmkiln.trial.trials import PROGRAM, Trials

CONTEXT = DeploymentContext(subscription_id="s", resource_group="g")
# with the budget gone only the process holds what a template costs
UNBOUNDED = """
from vmkiln.arm_template.budget import Budget
from vmkiln.trial import trial_program
Budget.work = Budget.make = lambda _self, _amount: None
trial_program.main()
"""
ENDLESS = "length(map(range(0,9999),lambda('x',map(range(0,9999),lambda('y',map(range(0,9999),lambda('z',1)))))))"
LARGE = "length(map(range(0,9999),lambda('x',padLeft('a',1048576))))"


def template(value: str) -> dict[str, Any]:
    return {"resources": [], "outputs": {"o": {"type": "int", "value": f"[{value}]"}}}


@contextlib.asynccontextmanager
async def served(program: Sequence[str]) -> AsyncIterator[Trials]:
    trials = Trials(program)
    serving = asyncio.create_task(trials.serve())
    await asyncio.sleep(0)
    try:
        yield trials
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def tried(trials: Trials, value: str) -> str:
    """Why a template did not come through; '' when it did."""
    try:
        await asyncio.to_thread(trials.check, template(value), {}, CONTEXT)
    except TemplateInvalid as error:
        return str(error.mistakes[0])
    return ""


@pytest.mark.parametrize(
    ("value", "seconds", "why"),
    [
        (ENDLESS, 0.5, "properties.template: takes more than 2 s to evaluate"),
        (LARGE, 30, "properties.template: takes more than 256 MiB to evaluate"),
    ],
)
async def test_what_no_budget_holds_is_killed_and_the_next_is_tried(
    value: str, seconds: float, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "CPU_SECONDS", seconds)
    async with served([sys.executable, "-I", "-c", UNBOUNDED]) as trials:
        assert await tried(trials, value) == why
        assert await tried(trials, "add(1,2)") == ""


async def test_with_the_budget_a_process_goes_on_to_the_next_template() -> None:
    async with served(PROGRAM) as trials:
        for value in (ENDLESS, LARGE, "add(1,2)", "nothing()"):
            assert await tried(trials, value) == ""


def test_what_stands_behind_an_output_that_waits_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service evaluates it before anything is made, so it is not to be the first that does."""
    tried_ones: list[str] = []
    before = DeploymentPlan.output

    def noted(self: DeploymentPlan, name: str, runtime: Any) -> Any:
        tried_ones.append(name)
        return before(self, name, runtime)

    monkeypatch.setattr(DeploymentPlan, "output", noted)
    waits = {"type": "string", "value": f"[{STATE}]"}
    content = {"resources": [], "outputs": {"a": waits, "b": {"type": "int", "value": "[nothing()]"}, "c": waits}}
    evaluate_all(json.loads(trials_module._request(content, {}, CONTEXT)))
    assert tried_ones == ["a", "b", "c"]


async def test_a_program_that_dies_is_replaced() -> None:
    async with served([sys.executable, "-c", "import sys; sys.stdin.buffer.read(9)"]) as trials:
        for _ in range(3):
            assert "256 MiB" in await tried(trials, "add(1,2)")


async def test_where_no_process_can_be_started_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def start(*_: object, **__: object) -> AsyncIterator[None]:
        raise HostUnfit("no more processes")
        yield

    monkeypatch.setattr(trials_module, "start", start)
    async with served(PROGRAM) as trials:
        for _ in range(3):
            assert "no process" in await tried(trials, "add(1,2)")


async def test_without_a_service_nothing_is_tried() -> None:
    assert await tried(Trials(["/nonexistent"]), ENDLESS) == ""


async def test_whoever_finds_too_many_waiting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "MOST_WAITING", 1)
    async with served([sys.executable, "-c", "import time; time.sleep(60)"]) as trials:
        asked = [asyncio.create_task(tried(trials, "add(1,2)")) for _ in range(6)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert all("too many others" in task.result() for task in done)
        assert done
    for task in asked:
        assert await task


async def tried_later(trials: Trials, value: str, tell: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> str:
    """Why outputs that ask for a resource's state did not come through; '' when they did."""
    later = {"what": "outputs", "inside": [], "index": 0}
    try:
        await asyncio.to_thread(trials.check_later, template(value), {}, CONTEXT, later, tell)
    except TemplateInvalid as error:
        return str(error.mistakes[0])
    return ""


ASKS_ON = """
import sys
while sys.stdin.buffer.read(1):
    sum(range(10**6))
    sys.stdout.buffer.write(b"q\\0\\0\\0\\2{}")
    sys.stdout.buffer.flush()
"""
STATE = "reference('/subscriptions/s/x')"


@pytest.mark.parametrize(
    ("count", "why"),
    [(1, ""), (9999, "properties.template: takes more than")],  # its memory, or on the way its time
)
async def test_what_a_resources_state_makes_dear_is_killed_too(count: int, why: str) -> None:
    asked = []

    def tell(question: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append((question["function"], question["arguments"], question["level"]))
        return {"value": {"count": count}}

    async with served([sys.executable, "-I", "-c", UNBOUNDED]) as trials:
        value = f"length(map(range(0,{STATE}.count),lambda('x',padLeft('a',1048576))))"
        assert (await tried_later(trials, value, tell)).partition(" than ")[0] == why.removesuffix(" than")
        assert await tried_later(trials, f"{STATE}.count", tell) == ""
    assert asked == [("reference", ["/subscriptions/s/x"], 0)] * 2


@pytest.mark.parametrize("told", [{"not_ready": "x"}, {"mistake": "it is not there"}])
async def test_a_state_that_nobody_knows_ends_the_trial_well(told: Mapping[str, Any]) -> None:
    async with served(PROGRAM) as trials:
        assert await tried_later(trials, f"{STATE}.count", lambda _question: told) == ""


async def test_who_cannot_tell_a_state_hears_why_and_the_next_trial_is_served() -> None:
    def fail(_question: Mapping[str, Any]) -> Mapping[str, Any]:
        raise HostUnfit("the database is away")

    async with served(PROGRAM) as trials:
        with pytest.raises(HostUnfit, match="away"):
            await tried_later(trials, f"{STATE}.count", fail)
        assert await tried(trials, "add(1,2)") == ""


async def test_who_has_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process asks once more for the second output, and nobody hears it."""

    def fail(_question: Mapping[str, Any]) -> Mapping[str, Any]:
        raise HostUnfit("the database is away")

    monkeypatch.setattr(trials_module, "MOST_PROCESSES", 1)
    async with served([sys.executable, "-c", ASKS_ON]) as trials:
        with pytest.raises(HostUnfit, match="away"):
            await tried_later(trials, "1", fail)
        trials._program = PROGRAM
        assert await asyncio.wait_for(tried(trials, "add(1,2)"), trials_module.WAIT_SECONDS / 2) == ""


async def test_a_trial_that_nobody_waits_for_any_more_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "MOST_PROCESSES", 0)
    async with served(PROGRAM) as trials:
        questions: queue.Queue[Any] = queue.Queue()
        asked = [asyncio.create_task(trials._verdict_on(b"{}", questions)) for _ in range(2)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.wait(asked[:1])
        assert not (await trials._asked()).answer.done()
        asked[1].cancel()


async def test_the_time_between_questions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that asks often enough was never looked at."""
    heard = []

    def tell(_question: Mapping[str, Any]) -> Mapping[str, Any]:
        heard.append(1)
        return {"mistake": ""} if len(heard) < 200 else {}[""]

    monkeypatch.setattr(trials_module, "CPU_SECONDS", 0.1)
    async with served([sys.executable, "-c", ASKS_ON]) as trials:
        assert "takes more than" in await tried_later(trials, "1", tell)


async def test_a_question_of_any_size_is_not_heard() -> None:
    large = ASKS_ON.replace("\\0", "\\xff", 1)
    async with served([sys.executable, "-c", large]) as trials:
        assert "256 MiB" in await asyncio.wait_for(
            tried_later(trials, "1", lambda _: {}), trials_module.WAIT_SECONDS / 2
        )
