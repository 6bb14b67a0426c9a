"""Whatever `build` would refuse is found beforehand, by the one place that `validate`, `plan` and `build` ask."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable import examination
from vmkiln.buildable.examination import Surroundings, examine
from vmkiln.cli import main
from vmkiln.images import managed_image
from vmkiln.images.image_store import ImageFacts
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.local_files import LocalFiles
from vmkiln.store.database import opened
from vmkiln.template.template_file import read_image_template

SUBSCRIPTION = "/subscriptions/11111111-2222-3333-4444-555555555555"
DEBIAN = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"}
VHD = [{"type": "VHD", "runOutputName": "o"}]
IMAGE_ID = f"{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Compute/images/none"
VERSION_ID = f"{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.Compute/galleries/g/images/d/versions/latest"
ISO = {"type": "ISO", "sourceURI": "https://example.com/x.iso", "sha256Checksum": "a" * 64}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def body(*, api_version: str = "2025-10-01", **properties: Any) -> dict[str, Any]:
    everything = {"source": DEBIAN, "distribute": VHD, **properties}
    identity = {"type": "UserAssigned", "userAssignedIdentities": {f"{SUBSCRIPTION}/resourceGroups/rg1/providers/"
                "Microsoft.ManagedIdentity/userAssignedIdentities/i": {}}}  # fmt: skip
    return {"apiVersion": api_version, "location": "westus2", "identity": identity, "properties": everything}


def write(folder: Path, **properties: Any) -> str:
    path = folder / "t.json"
    path.write_text(json.dumps(body(**properties)))
    return str(path)


def shell(uri: str, checksum: str = "") -> list[dict[str, Any]]:
    return [{"type": "Shell", "name": "s", "scriptUri": uri, "sha256Checksum": checksum}]


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "an ISO": (
        "properties.source: a source of type ISO cannot be built here",
        {"source": ISO, "api_version": "2019-05-01-preview"},
    ),
    "an image that the catalogue lacks": (
        "properties.source: ",
        {"source": {"type": "PlatformImage", "publisher": "Nobody", "offer": "linux", "sku": "1"}},
    ),
    "a version that is not kept": ("properties.source: version 12.1.1", {"source": {**DEBIAN, "version": "12.1.1"}}),
    "a managed image that is not there": (
        "properties.source: there is no managed image",
        {"source": {"type": "ManagedImage", "imageId": IMAGE_ID}},
    ),
    "a gallery without a version": (
        "properties.source: there is no image version",
        {"source": {"type": "SharedImageVersion", "imageVersionId": VERSION_ID}},
    ),
    "a script that is not there": (
        "properties.customize[0].scriptUri: reading `file:none.sh` failed: No such file",
        {"customize": shell("file:none.sh")},
    ),
    "more scripts than are copied": (
        "properties.customize[500].scriptUri: is number 501 of 502 scripts and files that are copied",
        {"customize": [shell(f"https://example.com/{number}.sh")[0] for number in range(502)]},
    ),
    "a script outside the folder": ("lies outside the template's folder", {"customize": shell("file:../x.sh")}),
    "a folder as script": ("is not a regular file", {"customize": shell("file:folder")}),
    "a script with another checksum": ("but the template says", {"customize": shell("file:a.sh", "0" * 64)}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_build_refuses_is_found_by_validate_and_plan(
    kind: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, properties = WRONG[kind]
    (tmp_path / "t" / "folder").mkdir(parents=True)
    (tmp_path / "t" / "a.sh").write_text("#!/bin/sh\n")
    path = write(tmp_path / "t", **properties)
    for command in ("validate", "build"):
        assert vmkiln(command, path, "--allow-local-files") == 2
        assert words in capsys.readouterr().err, command
    assert vmkiln("plan", path, "--allow-local-files", "--json") == 2
    assert any(words in problem for problem in json.loads(capsys.readouterr().out)["cannot_be_built_because"])
    assert vmkiln("validate", path, "--allow-local-files", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is True
    assert words in ": ".join(
        (found["cannot_be_built_because"][0]["path"], found["cannot_be_built_because"][0]["message"])
    )
    assert not home.exists(), "nothing was started"


def test_every_problem_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [*shell("file:one.sh"), *shell("file:two.sh")]
    path = write(tmp_path, source={"type": "ManagedImage", "imageId": IMAGE_ID}, customize=steps)
    assert vmkiln("build", path, "--allow-local-files") == 2
    told = capsys.readouterr().err
    assert all(words in told for words in ("one.sh", "two.sh", "there is no managed image"))


def test_local_files_without_permission_are_told_and_build_refuses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    path = write(tmp_path, customize=shell("file:a.sh"))
    assert vmkiln("validate", path) == 0
    assert "--allow-local-files" in capsys.readouterr().err
    assert vmkiln("plan", path) == 0
    assert "--allow-local-files" in capsys.readouterr().out
    assert vmkiln("build", path) == 2
    assert "--allow-local-files" in capsys.readouterr().err


def examined(
    tmp_path: Path,
    *,
    name: str = "t",
    tags: dict[str, str] | None = None,
    optimize_boot: bool = True,
    **properties: Any,
) -> examination.Verdict:
    settings = Settings(tmp_path / "home", optimize_boot=optimize_boot)
    text = json.dumps({**body(**properties), "tags": tags or {}})
    template = read_image_template(text, file_name="t.json").image_template
    surroundings = Surroundings(
        settings=settings,
        local_files=LocalFiles(tmp_path, is_allowed=True),
        opened_store=lambda: opened(settings.database),
        template_name=name,
        resource_group="rg",
    )
    return examine(template, surroundings)


def test_a_managed_image_that_is_there_is_found(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"x" * 512)
    facts = ImageFacts(
        flat=disk,
        digest=hashlib.sha256(b"x" * 512).hexdigest(),
        virtual_size_bytes=512,
        generation=2,
        os_type="Linux",
        source_version="1",
        run_id="r",
    )
    settings = Settings(tmp_path / "home")
    settings.home.mkdir()
    with opened(settings.database) as store:
        managed_image.publish(settings.image_store, store, facts, image_id=IMAGE_ID, location="westus2", tags={})
    assert not examined(tmp_path, source={"type": "ManagedImage", "imageId": IMAGE_ID}).problems


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<!DOCTYPE html>\n<html>", "is HTML"),
        ("  <html lang='en'>", "is HTML"),
        ("<!-- x --><HTML>", "is HTML"),
        ("<?xml version='1.0'?><Error><Code>x</Code></Error>", "error message of a storage account"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("#!/bin/sh\necho '<html>'", ""),
        ("cat <<E\n<html>\nE", ""),
    ],
)
def test_a_web_page_or_nothing_in_place_of_a_script_is_warned_of(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "page.sh").write_text(content)
    verdict = examined(tmp_path, customize=shell("file:page.sh"))
    assert not verdict.problems
    assert [words in warning for warning in verdict.warnings] == ([True] if words else [])


def test_optimizations_are_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    optimize = {"vmBoot": {"state": "Enabled"}, "workload": {"state": "Enabled", "scriptUri": "https://x.example/s"}}
    verdict = examined(tmp_path, optimize=optimize)
    assert not verdict.problems
    (workload,) = verdict.warnings
    assert workload.startswith("properties.optimize.workload: the image is built without this optimization")
    assert workload.endswith("its script is fetched and not run")
    disabled = {name: given | {"state": "Disabled"} for name, given in optimize.items()}
    assert not examined(tmp_path, optimize=disabled).warnings
    assert "script" not in examined(tmp_path, optimize={"workload": {"state": "Enabled"}}).warnings[0]


def test_a_boot_that_cannot_be_measured_is_not_optimized_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    optimize = {"vmBoot": {"state": "Enabled"}}
    (tag,) = examined(tmp_path, optimize=optimize, tags={"vmkiln-boot-gate": "off"}).warnings
    assert tag.startswith("properties.optimize.vmBoot: the image is built without this optimization, for the tag")
    assert not examined(tmp_path, optimize=optimize).warnings
    (off,) = examined(tmp_path, optimize=optimize, optimize_boot=False).warnings
    assert "for the setting optimize_boot is off" in off


def test_the_own_staging_group_is_used_and_kept_from_other_templates(tmp_path: Path) -> None:
    group = f"{SUBSCRIPTION}/resourceGroups/my-own"
    settings = Settings(tmp_path / "home")
    settings.home.mkdir()
    with opened(settings.database) as store:

        def claimed(name: str) -> str:
            tags = staging_resource_group.group_tags(
                template_name=name, resource_group="rg", managed_resource_tags={"a": "b"}
            )
            return staging_resource_group.claim(
                settings.staging, store, name="my-own", run_id="", tags=tags
            ).storage_account.name

        account = claimed("t")
        assert claimed("t") == account, "the same template uses it again"
        staging_resource_group.delete(settings.staging, store, staging_resource_group.find(store, "my-own"))
        assert claimed("t") == account, "and makes it anew"
        assert (settings.staging / "my-own" / account).is_dir()
    assert not examined(tmp_path, stagingResourceGroup=group).problems
    [problem] = examined(tmp_path, name="other", stagingResourceGroup=group).problems
    assert problem.path == "properties.stagingResourceGroup"
    assert "another image template" in problem.message


def test_the_plan_names_the_own_staging_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, stagingResourceGroup=f"{SUBSCRIPTION}/resourceGroups/my-own")
    assert vmkiln("plan", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["staging_resource_group"]["name"] == "my-own"
