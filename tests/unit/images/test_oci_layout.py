"""An image as an OCI image layout: every blob is what its digest says, and the same image gives the same bytes."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing import a_flat_disk, to_managed_image

from vmkiln.errors import ImageUnsafe, InputError, StorageFailed
from vmkiln.images.oci_layout import export_layout, name_of
from vmkiln.store.database import opened
from vmkiln.store.rows import ImageRow

DOCUMENTS = {"provenance": '{"payload": "..."}', "sbom": '{"bomFormat": "CycloneDX"}'}
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/all/images/web/versions/1.2.3"


@pytest.fixture
def image(tmp_path: Path) -> Iterator[ImageRow]:
    with opened(tmp_path / "db") as store:
        to_managed_image(tmp_path, store, a_flat_disk(tmp_path))
        [found] = store.images.list()
        yield found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """A blob, as whoever pulls it reads it."""
    content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert len(content) == descriptor["size"]
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
    return content


async def test_a_layout_leads_by_digests_to_the_disk_and_the_documents(image: ImageRow, tmp_path: Path) -> None:
    written = await export_layout(image, DOCUMENTS, tmp_path / "out", may_overwrite=False)
    files = files_of(tmp_path / "out")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    [named] = json.loads(files["index.json"])["manifests"]
    assert (named["digest"], named["annotations"]["org.opencontainers.image.ref.name"]) == (written.digest, "Web")
    manifest = json.loads(read(files, named))
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
    assert titles == ["Web.qcow2", "Web.intoto.json", "Web.cdx.json"]
    disk, provenance, _ = (read(files, layer) for layer in manifest["layers"])
    assert (disk, provenance.decode()) == (image.path.read_bytes(), DOCUMENTS["provenance"])
    config = json.loads(read(files, manifest["config"]))
    assert (config["generation"], config["format"]) == (image.generation, "qcow2")
    assert len(files) == 2 + 5, "nothing else is there"
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".out")} == set()


async def test_the_same_image_gives_the_same_bytes(image: ImageRow, tmp_path: Path) -> None:
    moved = replace(image, path=tmp_path / "elsewhere.qcow2")
    shutil.copyfile(image.path, moved.path)
    for name, one in (("first", image), ("second", moved)):
        await export_layout(one, dict(reversed(DOCUMENTS.items())), tmp_path / name, may_overwrite=False)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


async def test_a_changed_image_leaves_no_layout(image: ImageRow, tmp_path: Path) -> None:
    image.path.chmod(0o600)
    with image.path.open("r+b") as disk:
        disk.write(b"changed")
    with pytest.raises(ImageUnsafe):
        await export_layout(image, {}, tmp_path / "out", may_overwrite=False)
    assert not (tmp_path / "out").exists()


async def test_a_folder_is_overwritten_when_it_is_a_layout_and_asked_for(image: ImageRow, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    await export_layout(image, DOCUMENTS, out, may_overwrite=False)
    other.mkdir()
    for target, force in ((out, False), (other, False), (other, True), (tmp_path / "none" / "out", False)):
        with pytest.raises(InputError):
            await export_layout(image, {}, target, may_overwrite=force)
    await export_layout(image, {}, out, may_overwrite=True)
    assert len(files_of(out)) == 2 + 3, "what was there is gone"
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
async def test_a_folder_without_a_name_is_refused(
    image: ImageRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    await export_layout(image, {}, tmp_path / "out", may_overwrite=False)
    monkeypatch.chdir(tmp_path / "out")
    for target in (Path(), Path("blobs/..")):
        with pytest.raises(InputError, match=r"name|exists"):
            await export_layout(image, {}, target, may_overwrite=force)
    assert (tmp_path / "out" / "index.json").is_file()


async def test_what_cannot_be_overwritten_stays(
    image: ImageRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    await export_layout(image, DOCUMENTS, out, may_overwrite=False)
    before, rename = files_of(out), Path.rename

    def refused(path: Path, target: Path) -> Path:
        if target == out and not path.name.endswith(".old"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(StorageFailed):
        await export_layout(image, {}, out, may_overwrite=True)
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_a_layout_is_named_after_the_image_or_the_definition_and_version(image: ImageRow) -> None:
    assert name_of(replace(image, artifact_id=GALLERY)) == "web-1.2.3"
    assert name_of(replace(image, artifact_id="Contoso:server:2022:1.0.0")) == "Contoso-server-2022-1.0.0"
