"""What holds for every test: which tier and seed are run; files that it opened are closed, and the log is as it was."""

import faulthandler
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import tiers
from open_files import open_files

GRACE_SECONDS = 5.0  # for threads that are on their way out
END_SECONDS = 60.0  # for Python to end once the tests have
ENGINE = "/engine.sqlite"
MEMORY = "VMKILN_TEST_MEMORY"
COMMITTING_OFTEN = ("api", "portal", "unit")
RESULTS = ("passed", "failed", "error", "skipped")
BEGAN = pytest.StashKey[float]()
# what libraries that write to terminals look at: no test depends on where it was started
TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "TTY_COMPATIBLE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long tier: full counts, and the tests marked `long`")
    parser.addoption("--portal-shots", metavar="FOLDER", help="where pictures of the portal's pages are kept")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tell the tier and the seed to everything that draws: our own tests, hypothesis, and processes of tests.

    The environment's words on the terminal become the same everywhere.
    """
    for name in TERMINAL:
        os.environ.pop(name, None)
    os.environ["TERM"] = "xterm"
    config.stash[BEGAN] = time.monotonic()
    if config.getoption("--long"):
        os.environ[tiers.TIER] = tiers.LONG.name
    try:
        os.environ[tiers.SEED] = str(tiers.seed())
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = os.environ[tiers.SEED]
    most = tiers.examples(tiers.USUAL_EXAMPLES)
    slow = [hypothesis.HealthCheck.too_slow]  # no test fails for the time it takes: one example of many does by chance
    name = tiers.tier().name
    hypothesis.settings.register_profile(name, max_examples=most, deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile(tiers.tier().name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `long`, and count it as left out, unless the long tier is run."""
    if tiers.tier() is tiers.LONG:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """A thread that goes on keeps Python from ending, and the run of all tests would wait for it without a word."""
    faulthandler.dump_traceback_later(END_SECONDS, exit=True, file=sys.__stderr__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tier and the seed, which repeat what was tried."""
    tier = tiers.tier()
    terminalreporter.write_line(f"{tier.name} tier, {tiers.SEED}={tiers.seed()} ({tiers.counts(tier)})")
    if tier is not tiers.LONG:
        return
    config = terminalreporter.config
    results = {name: len(terminalreporter.stats.get(name, ())) for name in RESULTS}
    row = tiers.row(
        commit=os.environ.get("VMKILN_TEST_COMMIT", ""),
        selection=config.getoption("-m") or " ".join(config.args),
        results=results,
        seconds=time.monotonic() - config.stash[BEGAN],
    )
    terminalreporter.write_line(f"for docs/long-tests.md: {row}")


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own: in memory where `script/test` found room and the tests commit often, else on disk."""
    memory = os.environ.get(MEMORY)
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if not memory or folder not in COMMITTING_OFTEN:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as own:
        yield Path(own)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """A database that stays open keeps its locks until the garbage is collected: in the middle of another test."""
    before = open_files()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := open_files() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    # the durable engine of a service that lives on beside many tests has a pool, which may grow in any of them
    left = Counter({path: count for path, count in left.items() if not (path.endswith(ENGINE) and before[path])})
    assert not left, f"still open: {sorted(left)}"


@pytest.fixture(autouse=True)
def the_log_stays_as_it_was() -> Iterator[None]:
    """A command that runs inside a test sets up the log of the whole process."""
    root, ours = logging.getLogger(), logging.getLogger("vmkiln")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in [one for one in root.handlers if type(one).__module__.startswith("vmkiln") and one not in handlers]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
