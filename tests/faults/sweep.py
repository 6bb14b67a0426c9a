"""Sweeps: a case is tried with a fault at each of its system calls; each time recovery runs, and the oracle looks."""

import multiprocessing
import multiprocessing.pool
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kept_state import CASES, COMMITS, NOW, Case, rows_in, torn, torn_beside, with_runs
from syscall_faults import Act, Outcome, Point, failing_at, killed_at, points_of, recorded

from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.service import opened_store
from vmkiln.settings import Settings
from vmkiln.store.database import opened

KILL = "KILL"
AT_ONCE = 2  # processes; the machine's CPUs are shared with the other tests' own
SLICE = 20  # points of one task
WARM = ["pytest", "kept_state", "vmkiln.service", "alembic.command", "sqlalchemy.dialects.sqlite"]


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
        try:
            problem = place.problem(outcome)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        found.append(Tried(name, point, fault, outcome, problem))
    shutil.rmtree(folder)
    return found


class _Place:
    """A home of one case, and how it was at first."""

    def __init__(self, folder: Path, name: str) -> None:
        self.home, self.first = folder / "home", folder / "first"
        self.name = name
        self.home.mkdir(parents=True, mode=0o700)
        self.case = CASES.get(name)
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
            store.list_runs()
            gate()
            COMMITS[self.name](store)
            done()

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
