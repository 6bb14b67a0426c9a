"""The check of a Windows image: each way in turn until Packer logs in, and what is kept of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Accelerator
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.run.gates import login_check
from vmkiln.run.run_context import RunRequest
from vmkiln.run_failures import ContainerGroupLost, LoginTimedOut, ValidationFailed
from vmkiln.store.database import utc_now
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.windows.login_tag import Hook, gate_of, told_way

IMAGE = SourceImage(
    "contoso:server:2022", "1.2.3", Path("disk.qcow2"), "qcow2", "d" * 64, 2, "Windows", 1, "here", utc_now(),
    title="Contoso:server:2022",
)  # fmt: skip


class Host:
    """A host whose runs end as is told; what it keeps."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.asked: list[RunRequest] = []
        self.kept: list[VerdictRow] = []
        self.accelerator, self.accelerator_reason = Accelerator.KVM, "a guest booted"
        self.store = SimpleNamespace(verdicts=SimpleNamespace(keep=self.kept.append), now=utc_now)

    async def execute(self, _host: Any, request: RunRequest, _tell: Any) -> dict[str, Any]:
        self.asked.append(request)
        if (end := self.ends.pop(0)) is not None:
            raise end
        return {}


async def check(host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(login_check, "execute", host.execute)
    recorded: list[RunRequest] = []
    try:
        return await login_check.login_found(host, IMAGE, lambda _event: None, record=recorded.append)
    finally:
        assert recorded == host.asked


async def test_the_first_way_that_works_is_kept_by_the_images_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(LoginTimedOut("nobody came"), None)
    way, tried = await check(host, monkeypatch)
    assert way.hook is Hook.FIRST_LOGON
    assert [(one.hook, one.problem) for one in tried] == [
        (Hook.SETUP_COMPLETE, "nobody came"),
        (Hook.FIRST_LOGON, ""),
    ]
    (row,) = host.kept
    assert (row.gate, row.digest, row.run_id) == (gate_of(Hook.FIRST_LOGON), IMAGE.digest, tried[1].run_id)


async def test_a_way_that_works_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(None)
    way, _ = await check(host, monkeypatch)
    assert way.hook is Hook.SETUP_COMPLETE
    (request,) = host.asked
    properties = request.template.properties
    assert properties.validation.source_validation_only
    assert not properties.distribute
    assert told_way(request.template.tags) is Hook.SETUP_COMPLETE
    assert properties.source.version == "1.2.3"  # type: ignore[union-attr]


async def test_where_no_way_works_each_reason_is_told_and_nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(ValidationFailed("set-up failed"), LoginTimedOut("nobody came"))
    with pytest.raises(ValidationFailed) as caught:
        await check(host, monkeypatch)
    for words in ("at the end of set-up: set-up failed", "at a first logon: nobody came"):
        assert words in caught.value.message
    assert host.asked[1].run_id[:8] in (caught.value.hint or "")
    assert not host.kept


async def test_a_fault_of_this_machine_is_no_fault_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(ContainerGroupLost("gone"), None)
    with pytest.raises(ContainerGroupLost):
        await check(host, monkeypatch)
    assert len(host.asked) == 1
    assert not host.kept


def test_without_kvm_it_is_refused_unless_told() -> None:
    host: Any = Host()
    login_check.check_accelerator(host, may_be_emulated=False)
    host.accelerator = Accelerator.TCG
    login_check.check_accelerator(host, may_be_emulated=True)
    with pytest.raises(HostUnfit, match="with KVM"):
        login_check.check_accelerator(host, may_be_emulated=False)
