"""`vmkiln image import`, and the commands that show and delete what was imported."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from json_contract import check_answer
from typer.testing import CliRunner

from vmkiln import preparation
from vmkiln.audit.act_names import PLATFORM_IMAGE_WRITE, RUN
from vmkiln.cli import main
from vmkiln.cli.commands.images import image
from vmkiln.cli.main import app
from vmkiln.host.qemu import Accelerator
from vmkiln.host.saved import saved_vm
from vmkiln.inspecting.windows_facts import GENERALIZED, WindowsFacts
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.run.gates import login_check
from vmkiln.run.gates.login_check import Tried
from vmkiln.run.guest.login_way import LoginWay
from vmkiln.run_failures import ValidationFailed
from vmkiln.settings import Settings
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import opened
from vmkiln.windows.login_tag import Hook

NAME = "RedHat:RHEL:9-lvm-gen2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def disk(tmp_path: Path) -> str:
    (tmp_path / "disk.raw").write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    return str(tmp_path / "disk.raw")


def vmkiln(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    return done.stdout.strip()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def template(tmp_path: Path, **source: object) -> str:
    publisher, offer, sku = NAME.split(":")
    named = {"type": "PlatformImage", "publisher": publisher, "offer": offer, "sku": sku, **source}
    properties = {"source": named, "distribute": [{"type": "VHD", "runOutputName": "o"}]}
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"location": "local", "identity": {"type": "None"}, "properties": properties}))
    return str(path)


def test_an_import_is_listed_planned_from_and_deleted(tmp_path: Path, home: Path, disk: str) -> None:
    found = json.loads(vmkiln("image", "import", disk, "--as", f"{NAME}:9.4.1", "--json"))
    assert (found["artifact_id"], found["generation"], found["kind"]) == (f"{NAME}:9.4.1", 2, "PlatformImage")
    assert vmkiln("image", "import", disk, "--as", f"{NAME}:9.5.0").startswith(f"imported {NAME}:9.5.0, generation 2")
    assert [item["exact_version"] for item in json.loads(vmkiln("image", "list", "--json"))] == ["9.5.0", "9.4.1"]
    assert f"{NAME}:9.4.1" in vmkiln("image", "list")
    [entry] = [item for item in json.loads(vmkiln("image", "catalogue", "--json")) if item["publisher"] == "RedHat"]
    assert entry["versions"] == ["9.5.0", "9.4.1"]
    plan = json.loads(vmkiln("plan", template(tmp_path), "--json"))
    assert (plan["source"]["exact_version"], plan["cannot_be_built_because"]) == ("9.5.0", [])
    assert vmkiln("image", "delete", f"{NAME}:9.5.0", "--yes") == f"deleted {NAME}:9.5.0"
    assert vmkiln("image", "remove", NAME, "--yes") == f"deleted {NAME}:9.4.1"
    assert json.loads(vmkiln("image", "list", "--json")) == []
    with opened(Settings(home).database) as store:
        now = datetime.now(UTC)
        query = AuditQuery("", now - timedelta(hours=1), now + timedelta(hours=1))
        acts = [row.operation for row in store.audit.find(query, limit=20)]
    assert {"Vmkiln.Builds/platformImages/write", "Vmkiln.Builds/platformImages/delete"} == set(acts)


def test_with_an_image_goes_what_was_saved_of_vms_that_had_booted_it(home: Path, disk: str) -> None:
    found = json.loads(vmkiln("image", "import", disk, "--as", f"{NAME}:9.4.1", "--json"))
    folder = Settings(home).saved_vms
    for key, source in (("a" * 64, found["digest"]), ("b" * 64, "another"), ("c" * 64, "")):
        workplace = saved_vm.begun(folder, key)
        (workplace / saved_vm.MEMORY).write_bytes(b"what the image had in its files")
        saved_vm.finished(workplace, b"devices", "digest", source=source)
        saved_vm.named(workplace)
    vmkiln("image", "delete", NAME, "--yes")
    assert [path.name[0] for path in sorted(folder.iterdir())] == ["b", "c"]


def test_an_imported_image_is_shown_exported_and_started_by_its_name(
    tmp_path: Path, disk: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9.4.1", "9.5.0"):
        vmkiln("image", "import", disk, "--as", f"{NAME}:{version}")
    assert json.loads(vmkiln("image", "show", f"{NAME}:9.4.1", "--json"))["exact_version"] == "9.4.1"
    file = tmp_path / "out.raw"
    assert f"wrote {file}" in vmkiln("image", "export", f"{NAME}:9.4.1", str(file))
    assert file.read_bytes() == Path(disk).read_bytes()
    assert "has more than one version: 9.5.0, 9.4.1" in refused(capsys, "image", "export", NAME, str(file))
    started: list[tuple[Path, str, int]] = []
    monkeypatch.setattr(
        image, "boot_disk", lambda found, *, generation, **_: started.append((found.path, found.format, generation))
    )
    vmkiln("image", "boot", f"{NAME}:9.5.0")
    [(path, form, generation)] = started
    assert (path.is_file(), form, generation) == (True, "qcow2", 2), "a file of our own making"


def test_an_image_that_only_customers_get_names_the_command(
    tmp_path: Path, disk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "build", template(tmp_path))
    assert "Red Hat gives its images to its customers only" in told
    assert f"vmkiln image import FILE --as {NAME}" in told
    vmkiln("image", "import", disk, "--as", NAME)
    assert vmkiln("validate", template(tmp_path))


def test_every_mistake_of_an_import_is_named_at_once(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(
        capsys, "image", "import", disk, "--as", NAME, "--format", "vmdk", "--os-type", "Plan9", "--plan", "one"
    )
    for option in ("--format: `vmdk`", "--os-type: `Plan9`", "--plan: `one`"):
        assert option in told


def test_one_of_several_versions_has_to_be_named(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1.0.0", "1.0.1"):
        vmkiln("image", "import", disk, "--as", f"{NAME}:{version}")
    assert "1.0.1, 1.0.0" in refused(capsys, "image", "delete", NAME, "--yes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--check",), "--check is for images of Windows"),
        (("--os-type", "Linux", "--check"), "--check is for images of Windows"),
        (("--os-type", "Windows", "--emulated"), "add `--check`"),
    ],
)
def test_a_check_that_has_no_meaning_is_refused_before_anything_is_taken(
    capsys: pytest.CaptureFixture[str], home: Path, disk: str, options: tuple[str, ...], words: str
) -> None:
    assert words in refused(capsys, "image", "import", disk, "--as", NAME, *options)
    assert not Settings(home).image_cache.exists()


class Checking:
    """The machine, and what a check finds on it; no VM starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accelerator: Accelerator) -> None:
        self.runs: list[str] = []
        host = SimpleNamespace(accelerator=accelerator, accelerator_reason="there is no /dev/kvm")
        facts = WindowsFacts("Windows Server 2022", 20348, 1, "ServerStandard", "de-DE", GENERALIZED)

        @contextlib.asynccontextmanager
        async def prepared(*_: object) -> AsyncIterator[Any]:
            yield host

        async def look(*_: object) -> WindowsFacts:
            return facts

        async def found(_host: object, image: SourceImage, _tell: object, *, record: Any) -> Any:
            request = login_check.request_of(image, Hook.FIRST_LOGON)
            record(request)
            self.runs.append(request.run_id)
            return LoginWay(Hook.FIRST_LOGON), (Tried(Hook.FIRST_LOGON, request.run_id, 61.5),)

        monkeypatch.setattr(preparation, "prepared_host", prepared)
        monkeypatch.setattr(preparation, "look_at_windows_of", lambda *_: look)
        monkeypatch.setattr(login_check, "login_found", found)


def test_a_check_says_by_which_way_somebody_logged_in(home: Path, disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checking = Checking(monkeypatch, Accelerator.KVM)
    named = ("image", "import", disk, "--as", "a:b:c:1.0.0", "--os-type", "Windows", "--check")
    found = json.loads(vmkiln(*named, "--json"))
    check_answer("image import", found)
    assert found["check"] == {
        "login": "first-logon",
        "accelerator": "kvm",
        "tried": [{"way": "first-logon", "run_id": checking.runs[0], "seconds": 61.5, "problem": ""}],
    }
    assert vmkiln(*named).startswith("imported a:b:c:1.0.0")  # the same bytes are checked again
    with opened(Settings(home).database) as store:
        now = datetime.now(UTC)
        query = AuditQuery("", now - timedelta(hours=1), now + timedelta(hours=1))
        acts = [row.operation for row in store.audit.find(query, limit=20)]
    assert acts.count(RUN) == 2, "each run of a check is one of whoever asked for it"


def test_an_image_nobody_can_log_in_to_was_imported_all_the_same(
    home: Path, disk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Checking(monkeypatch, Accelerator.KVM)

    async def found(*_: object, **__: object) -> Any:
        raise ValidationFailed("nobody can log in to a:b:c")

    monkeypatch.setattr(login_check, "login_found", found)
    with pytest.raises(SystemExit) as caught:
        main.main(["image", "import", disk, "--as", "a:b:c:1.0.0", "--os-type", "Windows", "--check"])
    assert caught.value.code == 1
    assert "nobody can log in" in capsys.readouterr().err
    assert [item["exact_version"] for item in json.loads(vmkiln("image", "list", "--json"))] == ["1.0.0"]
    with opened(Settings(home).database) as store:
        now = datetime.now(UTC)
        query = AuditQuery("", now - timedelta(hours=1), now + timedelta(hours=1))
        (act,) = [row for row in store.audit.find(query, limit=20) if row.operation == PLATFORM_IMAGE_WRITE]
    assert (act.error_code, act.resource_id.rpartition("/")[2]) == ("", "1.0.0")


def test_without_kvm_nothing_is_copied_unless_it_is_told(
    home: Path, disk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checking = Checking(monkeypatch, Accelerator.TCG)
    named = ["image", "import", disk, "--as", "a:b:c:1.0.0", "--os-type", "Windows", "--check"]
    with pytest.raises(SystemExit) as caught:
        main.main(named)
    assert caught.value.code == 3
    assert "there is no /dev/kvm" in capsys.readouterr().err
    assert not Settings(home).image_cache.exists()
    vmkiln(*named, "--emulated")
    assert len(checking.runs) == 1
