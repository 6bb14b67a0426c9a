"""How much is tried: the only place that says the counts, for both tiers of the tests.

`script/test` runs the short tier: small counts, and another seed every day, so that in time all is tried that the long
tier tries at once. `script/test --long` runs the long one. What is tried follows from the tier and the seed alone:
`VMKILN_TEST_SEED=20261128 script/test ...` repeats a day. Both are in the environment, so that processes which a test
starts know them, too.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TypeVar

TIER, SEED = "VMKILN_TEST_TIER", "VMKILN_TEST_SEED"
TURNS = "VMKILN_TEST_TURNS"  # set where the whole suite runs; where tests are named, each of them has its turn
MOST_SEED = 2**32 - 1
USUAL_EXAMPLES = 100
FEWEST = 8  # as many are left of a list that is thinned
FEW = 2  # as many are never halved
T = TypeVar("T")


@dataclass(frozen=True)
class Tier:
    """The counts of one tier; a count that belongs to one test says which."""

    name: str
    example_factor: int  # how often the usual number of a property's examples is tried (hypothesis)
    cheap_example_factor: int  # the same of properties whose example costs less than half a millisecond
    requests: int  # generated requests to the API (tests/api/test_generated_requests.py)
    portal_requests: int  # generated requests to the portal (tests/portal/test_pages.py)
    document_examples: int  # requests from the OpenAPI document, of each operation (tests/api/test_openapi.py)
    lives: int  # of image templates (tests/faults/soak.py)
    warm_up_lives: int  # those before what is held is counted for the first time
    first_builds: int  # rounds of eight that begin at once (tests/unit/images/test_first_builds.py)
    killed_runs: int  # runs of a service that is killed again and again (tests/api/test_service_deaths.py)
    kills: int
    every_nth_call: int  # of the system calls at which a case is killed or fails (tests/faults/sweep.py)
    power_loss_states: int  # of a case, before and after it was done each (tests/faults/sweep.py)
    chaos_runs: int  # runs of a fleet whose hosts die (tests/fleet/chaos.py)
    chaos_rounds: int  # how often each kind of fault strikes there


SHORT = Tier(
    "short",
    example_factor=1,
    cheap_example_factor=1,
    requests=8_000,
    portal_requests=400,
    document_examples=2,
    lives=320,
    warm_up_lives=200,
    first_builds=1,
    killed_runs=40,
    kills=5,
    every_nth_call=3,
    power_loss_states=50,
    chaos_runs=40,
    chaos_rounds=1,
)
LONG = Tier(
    "long",
    example_factor=100,
    cheap_example_factor=1000,
    requests=100_000,
    portal_requests=20_000,
    document_examples=100,
    lives=4_000,
    warm_up_lives=250,
    first_builds=10,
    killed_runs=400,
    kills=40,
    every_nth_call=1,
    power_loss_states=500,
    chaos_runs=200,
    chaos_rounds=5,
)
TIERS = {tier.name: tier for tier in (SHORT, LONG)}


def tier(environment: Mapping[str, str] = os.environ) -> Tier:
    """The tier that is run."""
    return TIERS[environment.get(TIER, SHORT.name)]


def seed(environment: Mapping[str, str] = os.environ) -> int:
    """The seed of everything that is drawn. Raises: `ValueError` when the environment names none that can be used."""
    text = environment.get(SEED, "")
    if not text:
        return today()
    if not text.isdecimal() or int(text) > MOST_SEED:
        raise ValueError(f"{SEED} must be a number up to {MOST_SEED}, not {text!r}")
    return int(text)


def today() -> int:
    """The day as a number, such as 20261128 (UTC)."""
    return int(datetime.now(UTC).strftime("%Y%m%d"))


def examples(usual: int) -> int:
    """How many examples of a property are tried of which `usual` are enough on most days."""
    return usual * tier().example_factor


def cheap_examples(usual: int = USUAL_EXAMPLES) -> int:
    """The same of a property whose example costs less than half a millisecond, such as bytes that are read or refused.

    In the long tier these are 100,000: a minute each on a quiet core.
    """
    return usual * tier().cheap_example_factor


def thinned(found: Sequence[T]) -> Sequence[T]:
    """Every nth of what was found, another part of it every day; all of it in the long tier, and when it is little."""
    step = max(1, min(tier().every_nth_call, len(found) // FEWEST))
    return found[seed() % step :: step]


def half(found: Sequence[T], number: int = 0) -> Sequence[T]:
    """Every other one of what was found, and the others on another day; all of it in the long tier, and when it is few.

    Of two lists with `number`s next to each other the halves differ on one day.
    """
    if tier() is LONG or len(found) <= FEW:
        return found
    return found[(seed() + number) % 2 :: 2]


def quarter(found: Sequence[T]) -> Sequence[T]:
    """Every fourth of what was found, others on the next three days; all of it in the long tier, and when it is few."""
    return found if tier() is LONG or len(found) <= FEW else found[seed() % 4 :: 4]


def one(found: Sequence[T]) -> Sequence[T]:
    """One of what was found, another every day; all of it in the long tier."""
    at = seed() % len(found)
    return found if tier() is LONG else found[at : at + 1]


def days(environment: Mapping[str, str] = os.environ) -> Sequence[str]:
    """Which of `even` and `odd` today's number is; both in the long tier, and where not the whole suite runs."""
    found = ("even", "odd")
    return found if not environment.get(TURNS) or tier(environment) is LONG else found[seed(environment) % 2 :][:1]


def least(count: int) -> int:
    """How many of `count` that are to be there at least are left when they were thinned."""
    return count // tier().every_nth_call


def row(*, commit: str, selection: str, results: Mapping[str, int], seconds: float) -> str:
    """A row of the table in docs/long-tests.md: when, what, how much, how it went."""
    ends = ", ".join(f"{count} {name}" for name, count in results.items() if count)
    cells = (
        datetime.now(UTC).strftime("%Y-%m-%d"),
        commit or "unknown",
        seed(),
        f"`{selection}`",
        f"{os.cpu_count()} CPUs",
        ends or "nothing was run",
        timedelta(seconds=round(seconds)),
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def counts(of: Tier) -> str:
    """The counts of a tier in one line."""
    return ", ".join(f"{field.name} {getattr(of, field.name)}" for field in fields(of) if field.name != "name")
