"""Sweeps: a case is tried with a fault at each of its system calls; each time recovery runs, and the oracle looks."""

import multiprocessing
import multiprocessing.pool
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tiers
from kept_state import AT_POWER_LOSS, CASES, COMMITS, NOW, Case, rows_in, torn, torn_beside, with_runs
from power_loss import CALLS as MORE_CALLS
from power_loss import Disk, Operation, Tree, choices, fingerprint, operations_in, write_tree
from syscall_faults import DONE_MARK, Act, Outcome, Point, failing_at, killed_at, points_of, recorded

from vmkiln.preparation import opened_store
from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.settings import Settings
from vmkiln.store.database import opened

KILL = "KILL"
AT_ONCE = 2  # processes; the machine's CPUs are shared with the other tests' own
MOST_STATES = tiers.tier().power_loss_states  # of a case, before and after it was done each; of more, every nth
SLICE = 20  # points of one task
WARM = ["pytest", "kept_state", "vmkiln.preparation", "alembic.command", "sqlalchemy.dialects.sqlite"]


@dataclass(frozen=True)
class Tried:
    """One point of a case, what became of the process there, and what was wrong after recovery ('' for nothing)."""

    case: str
    point: Point
    fault: str
    outcome: Outcome
    problem: str


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder that is quick: what a process sees that comes after another was killed is the same on any disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@contextmanager
def processes() -> Iterator[multiprocessing.pool.Pool]:
    """As many processes as work at once, with everything loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    with context.Pool(AT_ONCE) as pool:
        yield pool


def tasks(
    folder: Path, names: Iterable[str], points: Callable[[str], Sequence[Point]], faults: Sequence[str]
) -> list[tuple[Path, str, Sequence[Point], str]]:
    """The work of a sweep in slices, each with a folder of its own."""
    found = []
    for name in names:
        mine = points(name)
        for fault in faults:
            for begin in range(0, len(mine), SLICE):
                found.append((folder / f"{len(found)}-{fault}", name, mine[begin : begin + SLICE], fault))
    return found


def points_in(folder: Path, name: str) -> tuple[list[Point], list[Point]]:
    """The calls of a case that change something: before it says that it is done, and after."""
    place = _Place(folder, name)
    return points_of(recorded(place.act, folder / "trace"))


def try_points(task: tuple[Path, str, Sequence[Point], str]) -> list[Tried]:
    """Try one slice."""
    folder, name, points, fault = task
    place = _Place(folder, name)
    found = []
    for point in points:
        place.restore()
        outcome = killed_at(point, place.act) if fault == KILL else failing_at(point, place.act, error=fault)
        found.append(Tried(name, point, fault, outcome, place.problem_or_error(outcome)))
    shutil.rmtree(folder)
    return found


def power_losses(task: tuple[Path, str]) -> list[Tried]:
    """A case of `AT_POWER_LOSS`: every state that the power may leave behind after each of its operations."""
    folder, name = task
    place = _Place(folder, name, AT_POWER_LOSS[name])
    trace = recorded(place.act, folder / "trace", options=["-xx", "-s", "200000"], calls=MORE_CALLS)
    place.restore()
    operations = operations_in(trace, done_mark=DONE_MARK)
    found = []
    for point, is_done, tree in _states(Disk(place.home), operations):
        shutil.rmtree(place.home)
        place.home.mkdir()
        write_tree(tree, place.home)
        outcome = Outcome(is_killed=True, is_done=is_done, error="", is_ours=False)
        found.append(Tried(name, point, "power loss", outcome, place.problem_or_error(outcome)))
    return found


def _states(disk: Disk, operations: Sequence[Operation]) -> list[tuple[Point, bool, Tree]]:
    """Different states, each with the operation that was the last and whether the work had said that it was done."""
    is_done = False
    found: dict[tuple[str, bool], tuple[Point, bool, Tree]] = {}
    for number, operation in enumerate(operations):
        disk.apply(operation)
        is_done = is_done or operation.kind == "done"
        for choice in choices(tiers.seed() + number):
            tree = disk.after_power_loss(choice)
            point = Point(operation.kind, number, operation.path)
            found.setdefault((fingerprint(tree), is_done), (point, is_done, tree))
    done = [state for state in found.values() if state[1]]
    before = [state for state in found.values() if not state[1]]
    return [*before[:: 1 + len(before) // MOST_STATES], *done[:: 1 + len(done) // MOST_STATES]]


class _Place:
    """A home of one case, and how it was at first."""

    def __init__(self, folder: Path, name: str, case: Case | None = None) -> None:
        self.home, self.first = folder / "home", folder / "first"
        self.name = name
        self.home.mkdir(parents=True, mode=0o700)
        self.case = case or CASES.get(name)
        (self.case.home if self.case else with_runs)(self.home)
        shutil.copytree(self.home, self.first)
        self.act: Act = self.case.act(self.home) if self.case else self._commit
        if self.case is None:
            self.before = rows_in(Settings(self.home).database)
            with opened(Settings(self.home).database, clock=lambda: NOW) as store:
                COMMITS[name](store)
            self.after = rows_in(Settings(self.home).database)
            assert self.before != self.after
            self.restore()

    def restore(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self.first, self.home)

    def _commit(self, gate: Callable[[], None], done: Callable[[], None]) -> None:
        with opened(Settings(self.home).database, clock=lambda: NOW) as store:
            store.runs.list()
            gate()
            COMMITS[self.name](store)
            done()

    def problem_or_error(self, outcome: Outcome) -> str:
        """What is wrong now; '' when nothing is."""
        try:
            return self.problem(outcome)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def problem(self, outcome: Outcome) -> str:
        """What is wrong now; '' when nothing is."""
        if outcome.error and not outcome.is_ours:
            return f"not an error of ours: {outcome.error}"
        if self.case is None:
            return self._problem_of_commit(outcome)
        return self._problem_of_home(self.case, outcome)

    def _problem_of_commit(self, outcome: Outcome) -> str:
        database = Settings(self.home).database
        rows = rows_in(database)
        if rows == self.after:
            return ""
        if outcome.is_done:
            return "what was acknowledged is gone"
        return "" if rows == self.before else f"neither as before nor as after: {rows}"

    def _problem_of_home(self, case: Case, outcome: Outcome) -> str:
        with opened_store(Settings(self.home), lambda _text: None) as store:
            problems = [*torn(self.home, store), *torn_beside(self.home)]
            if outcome.is_done and not case.is_there(self.home, store):
                problems.append("what was acknowledged is not there")
            case.deed(self.home, store)  # what was left does not hinder a repetition
            if not case.is_there(self.home, store):
                problems.append("the repetition did not do it")
            end_leftovers(Settings(self.home), store, lambda _text: None)
            problems += torn(self.home, store)
        return "; ".join(problems)
