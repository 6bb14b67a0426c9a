"""What can never be published, or is taken, is named by `validate`, `plan` and `build`, which start nothing then."""

import json
from pathlib import Path
from typing import Any

import pytest
from publishing import COMPUTE, DEFINITION_ID, a_flat_disk, to_gallery

from vmkiln.buildable.kept_images import has_images
from vmkiln.cli import main
from vmkiln.settings import Settings
from vmkiln.store.database import opened

DEBIAN = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"}
VHD = {"type": "VHD", "runOutputName": "vhd"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def write(tmp_path: Path, *targets: dict[str, Any], api_version: str = "2022-07-01", **properties: Any) -> str:
    everything = {"source": DEBIAN, "distribute": list(targets) or [VHD], **properties}
    path = tmp_path / "web.json"
    body = {"apiVersion": api_version, "location": "westus2", "identity": {"type": "None"}, "properties": everything}
    path.write_text(json.dumps(body))
    return str(path)


def shared(gallery_image_id: str, name: str = "o", **more: Any) -> dict[str, Any]:
    return {"type": "SharedImage", "runOutputName": name, "galleryImageId": gallery_image_id, **more}


def test_a_taken_version_is_refused_before_anything_starts(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(Settings(home).database) as store:
        to_gallery(tmp_path, store, a_flat_disk(tmp_path))
    path = write(tmp_path, shared(f"{DEFINITION_ID}/versions/1.0.0"))
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, path) == 2
        captured = capsys.readouterr()
        assert f"galleryImageId: the image version {DEFINITION_ID}/versions/1.0.0 exists" in captured.out + captured.err
    with opened(Settings(home).database) as store:
        assert store.runs.list() == []
        assert store.staging.list_groups() == []


def test_whether_there_are_images_is_seen_without_opening_the_store(tmp_path: Path, home: Path) -> None:
    database = Settings(home).database
    assert not has_images(database)
    with opened(database):
        pass
    assert not has_images(database)
    with opened(database) as store:
        to_gallery(tmp_path, store, a_flat_disk(tmp_path))
    assert has_images(database)
    database.write_bytes(b"no database")
    assert has_images(database), "what cannot be read is looked at with care"


@pytest.mark.parametrize("version", ["v1.0.0", "1.0", "01.2.3", "latest", "2147483648.0.0", "1.2.3.4", "1.2.x"])
def test_a_version_that_can_never_be_published_is_a_mistake(
    version: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, shared(f"{DEFINITION_ID}/versions/{version}"))
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, path) == 2
        error = capsys.readouterr().err
        assert f"properties.distribute[0].galleryImageId: `{version}` is not a version that can be published" in error
        assert "three numbers such as 1.2.3" in error
    assert not home.exists()


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3", "2147483647.2147483647.0", "2024.1231.235959"])
def test_a_version_of_three_numbers_is_none(version: str, tmp_path: Path) -> None:
    assert vmkiln("validate", write(tmp_path, shared(f"{DEFINITION_ID}/versions/{version}"))) == 0


@pytest.mark.parametrize(
    ("kind", "name", "is_right"),
    [
        ("gallery", "my-gallery", False),
        ("gallery", "my_gallery.1", True),
        ("gallery", ".g", False),
        ("gallery", "g_", False),
        ("gallery", "g" * 81, False),
        ("definition", "my def", False),
        ("definition", "my-def_1.x", True),
        ("definition", "d-", False),
        ("definition", "d" * 80, True),
        ("image", "my image", False),
        ("image", "-i", False),
        ("image", "web-1.2_", True),
    ],
)
def test_names_are_azures(
    kind: str, name: str, is_right: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"gallery": "g", "definition": "d", "image": "i", kind: name}
    target = shared(f"{COMPUTE}/galleries/{names['gallery']}/images/{names['definition']}")
    image = {"runOutputName": "m", "imageId": f"{COMPUTE}/images/{names['image']}", "location": "westus2"}
    assert vmkiln("validate", write(tmp_path, target, {"type": "ManagedImage", **image})) == (0 if is_right else 2)
    assert ("cannot be the name of" in capsys.readouterr().err) is not is_right


def test_two_targets_that_publish_the_same_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = {"type": "ManagedImage", "imageId": f"{COMPUTE}/images/i", "location": "westus2"}
    source = {"versioning": {"scheme": "Source"}}
    path = write(
        tmp_path,
        shared(DEFINITION_ID, "latest-is-fine-twice"),
        shared(DEFINITION_ID, "a"),
        shared(f"{DEFINITION_ID}/versions/1.0.0", "b"),
        shared(f"{DEFINITION_ID.upper()}/versions/1.0.0", "c"),
        {**image, "runOutputName": "d"},
        {**image, "runOutputName": "e", "imageId": image["imageId"].lower()},
        shared(DEFINITION_ID, "f", **source),
        shared(DEFINITION_ID, "g", **source),
        {**VHD, "uri": "https://a.example/vhds/x.vhd"},
        {**VHD, "runOutputName": "h", "uri": "https://a.example/vhds/x.vhd?sig=1"},
        {**VHD, "runOutputName": "i"},
        {**VHD, "runOutputName": "j"},
        {**VHD, "runOutputName": "k", "uri": "https://b.example/other/X.VHD"},
    )
    assert vmkiln("validate", path) == 2
    error = capsys.readouterr().err
    assert error.count("is what distribute[") == 4
    for place in ("[3].galleryImageId", "[5].imageId", "[7].galleryImageId", "[9].uri"):
        assert f"properties.distribute{place}: is what distribute[" in error


def test_an_arm64_size_on_an_x64_source_is_refused_by_all_three(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, vmProfile={"vmSize": "Standard_D2ps_v5"})
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, path) == 2
        captured = capsys.readouterr()
        assert "`Standard_D2ps_v5` has Arm64 CPUs, and the source is an x64 image" in captured.out + captured.err
    assert not home.exists()
