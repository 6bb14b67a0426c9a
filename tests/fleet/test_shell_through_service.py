"""A failed VM on one host is entered from another machine, through a service that both dial out to."""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from in_process import SUBSCRIPTION, wait_for
from postgresql import cluster

from vmkiln.audit.act_names import RUN_SHELL
from vmkiln.cli.contexts import Context, Contexts, write_contexts
from vmkiln.host.host_id import host_id
from vmkiln.run.held import lease
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ResourceRow, RunRow

TESTS = Path(__file__).parents[1]
RUN = str(uuid.UUID(int=7))
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web"
# who runs this test is the user of the VM, and no other: sshd is no root here
VISITOR = (
    "import os, pwd, signal, sys; "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup has what it runs ignore this one
    "from vmkiln.staging import cloud_init_seed; "
    "cloud_init_seed.USER = pwd.getpwuid(os.getuid()).pw_name; "
    "from vmkiln.cli.commands.runs import holding; holding.CATCH_UP = ''; "  # it would set this machine's clock
    "from vmkiln.cli.main import main; sys.exit(main())"
)


@dataclass
class Two:
    """A service, a host that holds the failed VM, and a machine that has nothing of either but a login."""

    service: "subprocess.Popen[str]"
    holder: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    journal: Path
    store: Store

    def enter(self, *command: str) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-c", VISITOR, "run", "shell", RUN[:8], *command]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(arguments, env=self.environment, text=True, stdin=nothing, stdout=pipe, stderr=pipe)

    def seen(self, what: str) -> int:
        return self.journal.read_text().count(what) if self.journal.exists() else 0


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(cluster())
        url, port = server.new_database(), free_port()
        journal = tmp_path / "journal"
        both = {
            **os.environ,
            "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
            "VMKILN_DATABASE_URL": url,
            "VMKILN_KEYS": str(tmp_path / "keys"),
            "VMKILN_SERVICE_URL": f"https://localhost:{port}",
            "STUB_PORT": str(port),
            "STUB_JOURNAL": str(journal),
        }
        command = [sys.executable, "-m", "stub_service", str(tmp_path / "service")]
        service = stack.enter_context(ended(subprocess.Popen(command, env=both, stdout=subprocess.PIPE, text=True)))
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        holding = Settings(tmp_path / "holder", database_url=url)
        store = stack.enter_context(opened(url, home=holding.home, keys=tmp_path / "keys"))
        hold(store, holding)
        command = [sys.executable, "-m", "stub_holder", str(holding.home), "kiln-2"]
        holder = stack.enter_context(ended(subprocess.Popen(command, env=both)))
        wait_for(lambda: "kiln-2" in {row.name for row in store.hosts.live()})
        visitor = {
            **os.environ,
            "PYTHONPATH": str(TESTS.parent),
            "VMKILN_HOME": str(tmp_path / "laptop"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        }
        owner = json.loads((tmp_path / "service/service/owner.json").read_text())
        authority = (tmp_path / "service/service/tls/ca.pem").read_text()
        context = Context(address, authority, owner["appId"], owner["password"])
        write_contexts(tmp_path / "config/vmkiln/contexts.json", Contexts().with_context("kiln", context))
        yield Two(service, holder, visitor, journal, store)


def hold(store: Store, settings: Settings) -> None:
    """A run of a template whose failed VM lies on the host with this state directory."""
    until = utc_now() + timedelta(hours=1)
    template = ResourceRow(
        id=TEMPLATE,
        type="Microsoft.VirtualMachineImages/imageTemplates",
        name="web",
        subscription_id=SUBSCRIPTION,
        resource_group="rg1",
        location="westus2",
        properties={"provisioningState": "Succeeded"},
    )
    store.resources.put(template)
    row = RunRow(RUN, "web", "rg1", {}, RunState.FAILED, "", "", "", "", {}, utc_now(), utc_now(), TEMPLATE.lower())
    store.runs.add(row)
    store.runs.add_facts(RUN, lease={"until": until.isoformat(), "size_mib": 1, "host_id": host_id(settings)})
    folder = lease.folder_of(settings, RUN)
    folder.mkdir(parents=True)
    record = {"until": until.timestamp(), "generation": 1, "size_bytes": 1, "sealed": ""}
    (folder / lease.RECORD).write_text(json.dumps(record))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def outcome(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        said, told = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        said, told = process.communicate()
        raise AssertionError(f"it did not end: {said} {told}") from None
    return process.returncode, said, told


def test_a_held_vm_is_entered_through_the_service(two: Two) -> None:
    status, said, told = outcome(two.enter("echo", "from", "the", "VM;", "whoami;", "exit", "7"))
    assert (status, said.splitlines()) == (7, ["from the VM", pwd.getpwuid(os.getuid()).pw_name]), told
    assert "is asked to come" in told
    wait_for(lambda: two.seen("left") == 1)
    query = AuditQuery(SUBSCRIPTION, utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
    acts = wait_for(lambda: [act for act in two.store.audit.find(query, limit=9) if act.operation == RUN_SHELL])
    assert [act.detail["runId"] for act in acts] == [RUN]
    many = outcome(two.enter("head -c 3000000 /dev/zero | tr '\\0' x"))
    assert (many[0], len(many[1])) == (0, 3_000_000), "and what is long arrives whole"


def entered(two: Two) -> "subprocess.Popen[str]":
    """Somebody who is in, and stays."""
    found = two.enter("echo in; while sleep 0.2; do echo still; done")  # which ends when nobody reads it
    assert found.stdout is not None
    assert found.stdout.readline() == "in\n"
    return found


def thrown_out(inside: "subprocess.Popen[str]", began: float) -> None:
    """Their command ends soon, and says why."""
    status, _, told = outcome(inside)
    assert status == 255
    assert "the way into the failed VM ended" in told
    assert time.monotonic() - began < 30


def test_a_visitor_or_a_service_that_is_killed_ends_the_visit(two: Two) -> None:
    inside = entered(two)
    inside.kill()
    outcome(inside)
    wait_for(lambda: two.seen("left") == 1)
    inside = entered(two)
    inside.send_signal(signal.SIGHUP)
    outcome(inside)
    assert list(Path(two.environment["VMKILN_HOME"], "visits").iterdir()) == [], "no key stays, nor a killed one's"
    wait_for(lambda: two.seen("left") == 2)
    inside, began = entered(two), time.monotonic()
    two.service.kill()
    thrown_out(inside, began)
    wait_for(lambda: two.seen("left") == 3)


def test_a_host_that_is_killed_ends_the_visit_and_nobody_waits_for_it(two: Two) -> None:
    inside, began = entered(two), time.monotonic()
    two.holder.kill()
    thrown_out(inside, began)
    two.holder.wait()
    wait_for(lambda: not two.store.hosts.live() or "kiln-2" not in {row.name for row in two.store.hosts.live()})
    status, _, told = outcome(two.enter("true"))
    assert (status, "is not at work" in told) == (1, True), told
