"""The source of a build is looked at once, from outside, where it is not one of ours; its disks are not written to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.qemu import Disk
from vmkiln.inspecting.disk_contents import DiskContents, DiskFound, Volume
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run.attesting import source_look
from vmkiln.run.attesting.source_look import found, look_once
from vmkiln.run.finished.finished_work import FinishedWork, as_facts, packed
from vmkiln.run.run_context import Disks, ResolvedSource
from vmkiln.run_failures import AnswerRefused, InspectionFailed, NotConfined, VirtualMachineLost

FILES = {
    b"etc/os-release": b"ID=debian\n",
    b"var/lib/dpkg/status": b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n",
}
SEEN = DiskContents((DiskFound("os", 2**31, "gpt"),), (Volume("os1", "ext4", 2**30, 2**20, contents=FILES),))
ORIGIN = "Debian:debian-12:12:1.0"


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The machines that looked, what the next one tells, whether a receipt was open, what was told of it."""
    state: dict[str, Any] = {"machines": [], "seen": SEEN, "open": False, "told": [], "facts": {}}

    async def look_at(_inside: object, machine: Any, *, directory: Path, is_kept: bool, **_: object) -> DiskContents:
        assert not is_kept, "the folder is for what is in the image"
        assert state["open"]
        state["machines"].append(machine)
        if isinstance(state["seen"], Exception):
            raise state["seen"]
        return SEEN

    @contextlib.contextmanager
    def resources(*_: object, **__: object) -> Iterator[None]:
        state["open"] = True
        try:
            yield
        finally:
            state["open"] = False

    monkeypatch.setattr(source_look, "look_at", look_at)
    monkeypatch.setattr(source_look, "resources", resources)
    return state


def entered(
    tmp_path: Path,
    state: dict[str, Any],
    *,
    image: Any = None,
    os_type: str = "Linux",
    of_data: str = "ef",
    looker: str = "inspector",
) -> Any:
    images = SimpleNamespace(find=lambda _origin: image, documents_of=lambda _origin: dict(image.documents))
    container_image = SimpleNamespace(kernel=Path("/k"), inspector=Path("/i"), digest=looker)
    runs = SimpleNamespace(find=lambda _id: SimpleNamespace(facts=state["facts"]))
    staged = SimpleNamespace(
        host=SimpleNamespace(
            settings=SimpleNamespace(source_contents=tmp_path / "known"),
            store=SimpleNamespace(images=images, runs=runs),
            container_image=container_image,
            accelerator="tcg",
        ),
        request=SimpleNamespace(run_id="0123"),
        group=None,
        directory=tmp_path,
        source=SimpleNamespace(
            digest="ab",
            origin=ORIGIN,
            os_type=os_type,
            data_disks=(SimpleNamespace(lun=1, digest=of_data),),
            disks=Disks(Disk(Path("/cache/disk.raw"), "raw"), {1: Disk(Path("/cache/more.qcow2"), "qcow2")}),
        ),
        tell=state["told"].append,
    )
    return SimpleNamespace(staged=staged, namespace=None)


async def test_a_source_is_looked_at_once_and_nothing_may_write(tmp_path: Path, state: dict[str, Any]) -> None:
    for _ in range(2):
        await look_once(entered(tmp_path, state))
    (machine,) = state["machines"]
    assert [disk.path.name for disk in machine.disks] == ["disk.raw", "more.qcow2"]
    assert all(disk.read_only for disk in machine.disks)
    assert (machine.tap, state["open"], len(state["told"])) == ("", False, 1)
    contents = found(entered(tmp_path, state).staged)
    assert contents is not None
    assert [package.name for package in contents.packages] == ["bash"]


async def test_an_image_of_ours_is_not_looked_at_again(tmp_path: Path, state: dict[str, Any]) -> None:
    ours = SimpleNamespace(digest="ab", documents={CONTENTS: '{"form": 1, "users": {"web": 7}}'})
    run = entered(tmp_path, state, image=ours)
    await look_once(run)
    contents = found(run.staged)
    assert contents is not None
    assert (contents.users, state["machines"]) == ({"web": 7}, [])
    ours.digest = "cd"  # another one came in its place
    assert found(run.staged) is None
    await look_once(run)
    assert len(state["machines"]) == 1


async def test_a_windows_is_not_looked_at_by_this_vm(tmp_path: Path, state: dict[str, Any]) -> None:
    await look_once(entered(tmp_path, state, os_type="Windows"))
    assert state["machines"] == []


@pytest.mark.parametrize("failure", [InspectionFailed("it has no end"), VirtualMachineLost("it was killed")])
async def test_a_source_that_cannot_be_read_is_told(tmp_path: Path, state: dict[str, Any], failure: Exception) -> None:
    state["seen"] = failure
    await look_once(entered(tmp_path, state))
    _, notice = state["told"]
    assert notice.is_warning
    assert notice.text == f"what was in the source is not known: {failure}"
    assert found(entered(tmp_path, state).staged) is None


async def test_a_vm_that_is_not_confined_ends_the_run(tmp_path: Path, state: dict[str, Any]) -> None:
    state["seen"] = NotConfined("root")
    with pytest.raises(NotConfined):
        await look_once(entered(tmp_path, state))


async def test_a_source_with_other_data_disks_is_another(tmp_path: Path, state: dict[str, Any]) -> None:
    await look_once(entered(tmp_path, state))
    assert found(entered(tmp_path, state, of_data="00").staged) is None


async def test_a_full_disk_ends_no_run_at_the_look(tmp_path: Path, state: dict[str, Any]) -> None:
    (tmp_path / "known").write_text("no folder, as where nothing can be made")
    await look_once(entered(tmp_path, state))
    assert "what was in the source could not be kept" in state["told"][-1].text


async def test_a_source_that_could_not_be_read_is_not_looked_at_by_the_next_build(
    tmp_path: Path, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    state["seen"] = AnswerRefused("it says so: a secret")
    for _ in range(2):
        await look_once(entered(tmp_path, state))
    assert len(state["machines"]) == 1
    assert state["told"][-1].is_warning
    assert state["told"][-1].text.endswith(f"looked for again in 6 hours at the latest: {source_look.REFUSED}")
    state["seen"] = SEEN
    await look_once(entered(tmp_path, state, looker="a better one"))
    assert len(state["machines"]) == 2
    monkeypatch.setattr(source_look.source_contents, "FAILED_SECONDS", 0.0)
    await look_once(entered(tmp_path, state))
    assert len(state["machines"]) == 3
    assert found(entered(tmp_path, state).staged) is not None


@pytest.mark.parametrize("failure", [InspectionFailed("it has no end"), VirtualMachineLost("it was killed")])
async def test_one_bad_minute_of_a_host_costs_no_later_build_its_look(
    tmp_path: Path, state: dict[str, Any], failure: Exception
) -> None:
    state["seen"] = failure
    await look_once(entered(tmp_path, state))
    state["seen"] = SEEN
    await look_once(entered(tmp_path, state))
    assert len(state["machines"]) == 2
    assert found(entered(tmp_path, state).staged) is not None
    state["seen"] = failure
    for _ in range(3):
        await look_once(entered(tmp_path, state, looker="another"))
    assert len(state["machines"]) == 4, "the third build does not wait for what failed twice"
    assert state["told"][-1].text.endswith(source_look.FAILED_AGAIN), "in words of nobody else's run"


async def test_a_looker_that_sees_more_is_asked_anew(tmp_path: Path, state: dict[str, Any]) -> None:
    await look_once(entered(tmp_path, state))
    assert found(entered(tmp_path, state, looker="a better one").staged) is None
    await look_once(entered(tmp_path, state, looker="a better one"))
    assert len(state["machines"]) == 2


async def test_another_host_that_goes_on_knows_the_source_by_the_record(tmp_path: Path, state: dict[str, Any]) -> None:
    await look_once(entered(tmp_path / "one", state))
    seen = found(entered(tmp_path / "one", state).staged)
    assert seen is not None
    other = entered(tmp_path / "other", state).staged
    assert found(other) is None
    await source_look.tell_if_unknown(other)
    assert state["told"].pop().text == "what was in the source is not known here, and is not kept with the images"
    disk = {"folder": "", "sizes": {}, "digests": {}}
    source = ResolvedSource(Path(), "raw", "ab", "1.0", 2, "Linux", 2**31, ORIGIN)
    work = FinishedWork(1, "made of", source, 2**31, disk, source_contents=packed(seen.text))  # type: ignore[arg-type]
    facts: Any = {**as_facts(work), "of a newer release": 1}
    facts["source"]["of a newer release"] = 1
    state["facts"] = {"finished": facts}
    assert found(other) == seen
    for spoilt in ("!", packed("{"), packed("[" * 100_000), packed(seen.text)[:-8], packed('{"packages": 1}')):
        state["facts"] = {"finished": {**facts, "source_contents": spoilt}}
        assert found(other) is None
    state["facts"] = {"finished": facts}
    told = len(state["told"])
    await source_look.tell_if_unknown(other)
    assert len(state["told"]) == told
