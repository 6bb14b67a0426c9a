"""A state directory in which something of everything is recorded, and commands asked about it."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from service_fixtures import access, living, service

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.cli import main
from vmkiln.cli.contexts import Context, Contexts, contexts_file, write_contexts
from vmkiln.run_state import Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, ImageRow, RunOutputRow, RunRow

__all__ = ["access", "living", "service"]

COMPUTE = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Compute"
RUNS = ("0123abcd-0000-4000-8000-000000000000", "4567cdef-0000-4000-8000-000000000000")
GUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])")
REPLACED = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)?"), "<time>"),
    (re.compile(r"\b(?=[a-z]*\d)[a-z0-9]{24}\b"), "<storage account>"),
    (re.compile(r"(?<=Internet: any, except )[\d./, ]+"), "<networks of this host and others>"),
    (re.compile(r"\b17\d{8}\.\d+\b|\b1[89]\d{8}\.\d+\b"), "<seconds since 1970>"),
)
TERMINAL = {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


class Clock:
    """A second later whenever it is asked."""

    def __init__(self) -> None:
        self._seconds = count()

    def __call__(self) -> datetime:
        return datetime(2026, 11, 28, 12, tzinfo=UTC) + timedelta(seconds=next(self._seconds))


def timeless(text: str, home: Path) -> str:
    """Text without what differs from one day, machine or user to the next; the same id stays the same."""
    text = re.sub(re.escape(str(home)) + r"( ?) *", r"<home>\1", text)
    names: dict[str, str] = {}
    text = GUID.sub(
        lambda found: found[0] if found[0] in RUNS else names.setdefault(found[0], f"<id {len(names) + 1}>"), text
    )
    for pattern, name in REPLACED:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _record_runs(store: Store, settings: Settings) -> None:
    done, failed = RUNS
    for run_id, name in zip(RUNS, ("web", "db"), strict=True):
        facts = {"generation": 2, "isolation_level": "hardware", "source_exact_version": "1.2.3"}
        store.runs.add(RunRow(run_id, name, "rg", {}, RunState.RUNNING, "", "", "", "", facts, store.now(), None))
        for phase in (Phase.BUILDING, Phase.CUSTOMIZING):
            store.runs.begin_phase(run_id, phase)
    group = staging_resource_group.create(
        settings.staging, store, name="IT_rg_web_1", run_id=done, tags={"team": "web"}
    )
    store.staging.use_group(group.name, run_id=done)
    for name in ("build-vm", "container-build-vm", "kept-vm"):
        detail = {"path": "/x"} if name == "kept-vm" else {}
        number = store.staging.add_resource(group.name, run_id=done, type=VIRTUAL_MACHINE, name=name, detail=detail)
        store.staging.resource_exists(number)
        if name != "kept-vm":
            store.staging.resource_deleted(number)
        if name == "build-vm":
            store.staging.resources_gone([number])
    with CustomizationLog(group.storage_account.blob(f"{LOGS}/{done}/customization.log"), done) as log:
        log.write("hello")
    store.images.put_output(RunOutputRow(done, "managed", f"{COMPUTE}/images/web", "", "Succeeded", ""))
    for run_id, state in ((done, RunState.SUCCEEDED), (failed, RunState.FAILED)):
        words = ("a customizer failed: exit status 1", "PackerBuildFailed") if state == RunState.FAILED else ("", "")
        store.now()  # a second passes
        store.runs.move(run_id, expected=[RunState.RUNNING], state=state, message=words[0], code=words[1])


def _record_images(store: Store, settings: Settings) -> None:
    for kind, name in (("ManagedImage", "images/web"), ("SharedImage", "galleries/g/images/d/versions/1.0.0")):
        image = ImageRow(
            artifact_id=f"{COMPUTE}/{name}",
            kind=kind,
            path=settings.image_store / name.replace("/", "-") / "image.qcow2",
            format="qcow2",
            digest=f"sha256:{'0' * 64}",
            size_bytes=700 * 2**20,
            virtual_size_bytes=30 * 2**30,
            generation=2,
            os_type="Linux",
            source_version="1.2.3",
            run_id=RUNS[0],
            tags={"team": "web"},
            detail={},
            created=store.now(),
        )
        store.images.add(image)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of commands, and nothing of the user's own."""
    home = tmp_path / "home"
    for name in os.environ:
        if name.startswith("VMKILN_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in {**TERMINAL, "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin"}.items():
        monkeypatch.setenv(name, value)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    return home


@pytest.fixture
def recorded(home: Path) -> Settings:
    """Two runs, one that succeeded and one that failed, images, hosts, a principal with a role."""
    settings = Settings(home)
    home.mkdir(mode=0o700)
    with opened(settings.database, clock=Clock(), home=home) as store:
        _record_runs(store, settings)
        _record_images(store, settings)
        for name, level in (("build-1", "hardware"), ("build-2", "emulated")):
            host = HostRow(f"life-of-{name}", f"id-of-{name}", name, "X64", level, "west", 8, 16384, 500_000)
            store.hosts.register(host, lease_seconds=3600)
        store.hosts.drain("build-2", is_draining=True)
        principal, _ = store.principals.create("ci")
        store.principals.assign(principal.object_id, "Contributor", "/subscriptions/s/resourceGroups/images")
    known = {"example": Context("https://build.example.org:8443", app_id="app", secret="not shown")}
    write_contexts(contexts_file(os.environ), Contexts("example", known))
    return settings


@pytest.fixture
def shown(home: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints, standard error after standard output, and its exit code."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main.main(list(arguments))
        printed = capfd.readouterr()
        return timeless(f"{printed.out}{printed.err}exit code {ended.value.code or 0}", home)

    return run
