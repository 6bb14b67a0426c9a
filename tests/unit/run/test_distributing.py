"""Distributing again, after the process of an earlier attempt died: nothing is published twice, nothing is missing."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from publishing import DEFINITION_ID, IMAGE_ID, RUN_ID, a_flat_disk

from vmkiln.arm_template.parameters.deployment_parameters import ParameterUsed
from vmkiln.azure_names import LOCK, RESOURCE_GROUP
from vmkiln.errors import KeyUnavailable
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.image_contents.contents import read_contents
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.data_disk import data_disks_of, file_beside
from vmkiln.images.image_store import remove, sha256_of
from vmkiln.inspecting import kept_contents, source_contents
from vmkiln.inspecting.disk_contents import DiskContents, DiskFound, Volume
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS, PROVENANCE, SBOM, SOURCE_CONTENTS
from vmkiln.provenance.verification import verify
from vmkiln.run import distributing
from vmkiln.run.distributing import distribute
from vmkiln.run.final_disk import flattening
from vmkiln.run.finished import finished_work
from vmkiln.run.finished.finished_work import FinishedWork, record, recorded
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest
from vmkiln.run_failures import DistributionFailed, ReleaseRefused
from vmkiln.run_state import RunState
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage, shared_storage
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.image_table import ImageTable
from vmkiln.store.rows import ResourceRow, RunOutputRow, RunRow
from vmkiln.store.run_facts import KeptDiskFacts
from vmkiln.template.distribute_target import VhdTarget
from vmkiln.template.image_template import ImageTemplate

GALLERY = {
    "type": "SharedImage",
    "runOutputName": "gallery",
    "galleryImageId": DEFINITION_ID,
    "replicationRegions": ["a"],
}
MANAGED = {"type": "ManagedImage", "runOutputName": "managed", "imageId": IMAGE_ID, "location": "westeurope"}
VHD = {"type": "VHD", "runOutputName": "vhd"}
SOURCE = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"}


FILES = {
    b"etc/os-release": b"ID=debian\n",
    b"var/lib/dpkg/status": b"Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n",
}


def looked_at(files: dict[bytes, bytes]) -> DiskContents:
    """What was found on a disk with just these files."""
    return DiskContents((DiskFound("os", 2**31, "gpt"),), (Volume("os1", "ext4", 2**30, 2**20, contents=files),))


LOOKED_AT = looked_at(FILES)
NO_IMAGE = ContainerImage(Path("/none"), Path("/none"), Path("/none"), "digest", "1.6.6")


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
        yield store


@pytest.fixture
def staged(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that has come to distributing, with as much as that needs; every attempt flattens other bytes."""
    facts = a_flat_disk(tmp_path)
    made: list[Path] = []

    async def convert(_disk: Disk, target: Path, *, target_format: str) -> None:
        target.unlink(missing_ok=True)
        shutil.copyfile(facts.flat, target)
        with target.open("ab") as file:
            file.write(bytes(len(made) + 1))
        made.append(target)

    async def virtual_size(_disk: Disk) -> int:
        return facts.virtual_size_bytes

    monkeypatch.setattr(flattening, "convert", convert)
    monkeypatch.setattr(flattening, "virtual_size", virtual_size)
    template = ImageTemplate.model_validate(
        {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": [GALLERY, MANAGED, VHD]}}
    )
    settings, live = Settings(tmp_path), tmp_path / "live"
    live.mkdir()
    return SimpleNamespace(
        request=RunRequest(
            RUN_ID,
            "web",
            "rg",
            template,
            {"location": "l", "secret": "hunter22"},
            NO_LOCAL_FILES,
            mask=SecretMask.of(["hunter22"]),
            parameters=(ParameterUsed("size", "d" * 64), ParameterUsed("key", "")),
        ),
        host=BuildHost(settings, store, Accelerator.TCG, "a stand-in", NO_IMAGE, 2, 4096, None),
        group=SimpleNamespace(name="IT_x", storage_account=StorageAccount("a", tmp_path / "staging")),
        directory=live,
        source=ResolvedSource(Path("/none"), "qcow2", "a" * 64, "12.1.0", 1, "Linux", 1, "https://images.example/12"),
        shape=SimpleNamespace(disk_bytes=facts.virtual_size_bytes, cpus=1, memory_mib=1024),
        copies={},
        tell=lambda _event: None,
    )


def attempt(staged: Any) -> list[RunOutputRow]:
    return asyncio.run(distribute(staged, Disks(Disk(Path("/nonexistent"), "qcow2"))))


@pytest.mark.parametrize("deaths", [1, 2, 3])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_attempt_after_a_death_publishes_only_what_is_missing(
    staged: Any, store: Store, monkeypatch: pytest.MonkeyPatch, deaths: int, is_recorded: bool
) -> None:
    put = ImageTable.put_output
    left = [deaths]

    def put_or_die(self: ImageTable, row: RunOutputRow) -> None:
        if row.state == "Succeeded":
            left[0] -= 1
            if left[0] == 0:
                if is_recorded:
                    put(self, row)
                raise Died
        put(self, row)

    monkeypatch.setattr(ImageTable, "put_output", put_or_die)
    with pytest.raises(Died):
        attempt(staged)
    monkeypatch.setattr(ImageTable, "put_output", put)
    outputs = attempt(staged)
    assert [row.state for row in outputs] == ["Succeeded"] * 3
    assert [row.name for row in store.images.outputs_of(RUN_ID)] == ["gallery", "managed", "vhd"]
    published = store.images.of_run(RUN_ID)
    assert sorted(image.kind for image in published if image.kind != "VHD") == ["ManagedImage", "SharedImageVersion"]
    assert len({image.digest for image in published if image.format == "qcow2"}) == 1, "all targets got one image"
    assert outputs[0].artifact_id == f"{DEFINITION_ID}/versions/1.0.0"
    assert all(image.path.exists() for image in published)


def test_data_disks_go_to_every_target_also_after_a_death(staged: Any, store: Store) -> None:
    disks = Disks(Disk(Path("/nonexistent"), "qcow2"), {0: Disk(Path("/data"), "qcow2")})
    outputs = asyncio.run(distribute(staged, disks))
    assert [row.state for row in outputs] == ["Succeeded"] * 3
    published = store.images.of_run(RUN_ID)
    with_disks = [image for image in published if data_disks_of(image)]
    assert sorted(image.kind for image in with_disks) == ["ManagedImage", "SharedImageVersion"]
    assert all(file_beside(image.path, 0).is_file() for image in with_disks)
    assert len([image for image in published if image.format == "vhd"]) == 2
    lost = store.images.find(IMAGE_ID)
    assert lost is not None
    remove(lost, store)
    store.images.put_output(RunOutputRow(RUN_ID, "managed", "", "", "Creating", ""))
    shutil.rmtree(staged.directory)
    staged.directory.mkdir()
    asyncio.run(distribute(staged, disks))
    again = store.images.find(IMAGE_ID)
    assert again is not None
    assert data_disks_of(again) == data_disks_of(with_disks[0]), "the same disks as the other targets have"
    assert file_beside(again.path, 0).is_file()


def a_request_to_publish(*targets: VhdTarget) -> SimpleNamespace:
    return SimpleNamespace(template=SimpleNamespace(properties=SimpleNamespace(distribute=targets)))


def test_vhds_whose_outputs_have_nearly_the_same_name_are_files_of_their_own(tmp_path: Path) -> None:
    account = StorageAccount("a", tmp_path)
    staged: Any = SimpleNamespace(group=SimpleNamespace(storage_account=account), request=a_request_to_publish())
    names = ("a" * 63 + "1", "a" * 63 + "2", "_x", "x", "-X")
    targets = [VhdTarget(type="VHD", run_output_name=name) for name in names]
    assert len({distributing.vhd_file(staged, target).name[:-19] for target in targets}) == len(names)
    named = VhdTarget(type="VHD", run_output_name="x", uri="https://a.example/vhds/My%20Image.VHD?sig=1")
    assert distributing.vhd_file(staged, named).name == "my_image.vhd"


def test_blobs_of_one_name_in_two_containers_are_files_of_their_own(tmp_path: Path) -> None:
    uris = {
        "x": "https://a.example/vhds/web.vhd",
        "y": "https://a.example/old/Web.vhd",
        "z": "https://a.example/db.vhd",
    }
    targets = [VhdTarget(type="VHD", run_output_name=name, uri=uri) for name, uri in uris.items()]
    group = SimpleNamespace(storage_account=StorageAccount("a", tmp_path))
    staged: Any = SimpleNamespace(group=group, request=a_request_to_publish(*targets))
    names = [distributing.vhd_file(staged, target).name for target in targets]
    assert names == ["web_x.vhd", "web_y.vhd", "db.vhd"]


def test_another_run_gets_another_version(staged: Any, store: Store) -> None:
    attempt(staged)
    other = "99999999-0000-0000-0000-000000000000"
    store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    staged.request = replace(staged.request, run_id=other)
    assert attempt(staged)[0].artifact_id == f"{DEFINITION_ID}/versions/1.0.1"


def test_a_files_image_comes_with_its_resource_group(staged: Any, store: Store) -> None:
    """In the portal and for clients an image lies in one."""
    attempt(staged)
    wanted = {"/".join(one.split("/")[:5]).lower() for one in (DEFINITION_ID, str(MANAGED["imageId"]))}
    before = store.resources.list(type=RESOURCE_GROUP)
    assert {row.key for row in before} == wanted
    assert all(row.properties == {"provisioningState": "Succeeded"} for row in before)
    other = "99999999-0000-0000-0000-000000000000"
    store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    staged.request = replace(staged.request, run_id=other)
    attempt(staged)
    assert store.resources.list(type=RESOURCE_GROUP) == before, "one that is there stays as it is"


def test_every_image_is_kept_with_a_signed_statement_of_its_run(staged: Any, store: Store) -> None:
    attempt(staged)
    keys = image_key.public_keys(store.seal.ring)
    images = store.images.of_run(RUN_ID)
    assert len(images) == 3
    for image in images:
        envelope = store.images.documents_of(image.artifact_id)[PROVENANCE]
        verdict = verify({image.path.name: image.digest}, envelope, keys)
        assert verdict.summary["run"] == RUN_ID
        assert verdict.summary["source"]["digest"] == {"sha256": "a" * 64}
        parameters = verdict.statement["predicate"]["buildDefinition"]["externalParameters"]
        assert parameters["template"] == {"location": "l", "secret": "***"}
        assert parameters["parameters"] == [{"name": "size", "sha256": "d" * 64}, {"name": "key", "secret": True}]
        versions = verdict.statement["predicate"]["runDetails"]["builder"]["version"]
        assert {"vmkiln", "packer", "qemu"} == set(versions)
    remove(images[0], store)
    assert store.images.documents_of(images[0].artifact_id) == {}


def test_nothing_is_published_that_cannot_be_signed(staged: Any, store: Store) -> None:
    image_key.current(store.seal.ring)
    store.seal.ring.file.write_text("{}")
    with pytest.raises(KeyUnavailable):
        attempt(staged)
    assert store.images.of_run(RUN_ID) == []


def test_nothing_is_published_that_the_release_policy_refuses(staged: Any, store: Store) -> None:
    staged.host = replace(staged.host, settings=replace(staged.host.settings, release_policy="boot"))
    with pytest.raises(ReleaseRefused, match="nobody has booted it"):
        attempt(staged)
    assert store.images.of_run(RUN_ID) == []
    assert not any(row.artifact_id or row.artifact_uri for row in store.images.outputs_of(RUN_ID))
    store.runs.add_facts(RUN_ID, boot={"seconds_to_ssh": 61.5})
    assert len(attempt(staged)) == 3


def test_an_image_that_takes_the_place_of_another_has_its_own_statement(staged: Any, store: Store) -> None:
    attempt(staged)
    first = store.images.documents_of(IMAGE_ID)
    other = "99999999-0000-0000-0000-000000000000"
    store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    staged.request = replace(staged.request, run_id=other)
    attempt(staged)
    image, second = store.images.find(IMAGE_ID), store.images.documents_of(IMAGE_ID)
    assert image is not None
    assert first != second
    assert (
        verify({"": image.digest}, second[PROVENANCE], image_key.public_keys(store.seal.ring)).summary["run"] == other
    )


def test_what_is_in_an_image_is_kept_with_it_and_in_its_statement(staged: Any, store: Store) -> None:
    store.runs.add_facts(RUN_ID, boot={"seconds_to_ssh": 61.5})
    kept_contents.keep(staged.directory, LOOKED_AT)
    attempt(staged)
    for image in store.images.of_run(RUN_ID):
        documents = store.images.documents_of(image.artifact_id)
        assert json.loads(documents[CONTENTS])["packages"][0]["name"] == "bash"
        assert json.loads(documents[CONTENTS])["boot_seconds"] == 61.5
        assert json.loads(documents[SBOM])["metadata"]["component"]["hashes"][0]["content"] == image.digest
        told = verify({"": image.digest}, documents[PROVENANCE], image_key.public_keys(store.seal.ring)).statement
        byproducts = {item["name"]: item["digest"]["sha256"] for item in told["predicate"]["runDetails"]["byproducts"]}
        for name in (CONTENTS, SBOM):
            assert byproducts[name] == hashlib.sha256(documents[name].encode()).hexdigest()
    assert "image_difference" not in store.runs.find(RUN_ID).facts, "there was no image before"


def test_the_statement_has_the_packages_that_were_in_the_source(staged: Any, store: Store) -> None:
    """By what is kept with it, and only as long as no other image has come in its place."""
    kept_contents.keep(staged.directory, LOOKED_AT)
    attempt(staged)
    source, documents = store.images.find(IMAGE_ID), store.images.documents_of(IMAGE_ID)
    assert source is not None
    staged.source = replace(staged.source, origin=IMAGE_ID, digest=source.digest)
    for number, names in ((1, [SBOM, CONTENTS]), (2, [])):  # the first takes the place of its own source
        other = f"{number}9999999-0000-0000-0000-000000000000"
        store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
        staged.request = replace(staged.request, run_id=other)
        attempt(staged)
        image = store.images.find(IMAGE_ID)
        assert image is not None
        envelope = store.images.documents_of(IMAGE_ID)[PROVENANCE]
        told = verify({"": image.digest}, envelope, image_key.public_keys(store.seal.ring)).statement
        materials = told["predicate"]["buildDefinition"]["resolvedDependencies"]
        before = {item["name"]: item["digest"]["sha256"] for item in materials if item["name"].startswith("source, ")}
        assert before == {f"source, {name}": hashlib.sha256(documents[name].encode()).hexdigest() for name in names}


def test_what_was_in_a_source_of_others_is_kept_with_the_image(staged: Any, store: Store) -> None:
    """By the look at its disks; it is what the image is compared with where none is in its place."""
    told: list[str] = []
    staged.tell = lambda event: told.append(getattr(event, "text", ""))
    old = {name: content.replace(b"5.2-1", b"5.1-1") for name, content in FILES.items()}
    before = kept_contents.contents_of(looked_at(old))
    key = source_contents.key_of(staged.source.digest, staged.host.container_image.digest)
    source_contents.keep(staged.host.settings.source_contents, key, before)
    kept_contents.keep(staged.directory, LOOKED_AT)
    attempt(staged)
    image, documents = store.images.find(IMAGE_ID), store.images.documents_of(IMAGE_ID)
    assert image is not None
    assert read_contents(documents[SOURCE_CONTENTS]) == before
    assert f"compared with {staged.source.origin}: 1 package changed" in told
    shown = verify({"": image.digest}, documents[PROVENANCE], image_key.public_keys(store.seal.ring)).statement
    materials = shown["predicate"]["buildDefinition"]["resolvedDependencies"]
    digest = hashlib.sha256(documents[SOURCE_CONTENTS].encode()).hexdigest()
    assert [item["digest"]["sha256"] for item in materials if item["name"] == "source, contents"] == [digest]


def test_what_differs_from_the_image_before_is_told_before_it_is_replaced(staged: Any, store: Store) -> None:
    kept_contents.keep(staged.directory, LOOKED_AT)
    attempt(staged)
    other = "99999999-0000-0000-0000-000000000000"
    store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    changed = {name: content.replace(b"5.2-1", b"5.3-1") for name, content in FILES.items()}
    kept_contents.keep(staged.directory, looked_at(changed))
    told: list[str] = []

    def tell(event: Any) -> None:
        found = store.images.find(IMAGE_ID)
        if "compared with" in getattr(event, "text", ""):
            assert found is not None
            assert found.run_id == RUN_ID, "nothing is replaced yet"
            told.append(event.text)

    staged.request, staged.tell = replace(staged.request, run_id=other), tell
    attempt(staged)
    assert told == [f"compared with {DEFINITION_ID}/versions/1.0.0: 1 package changed"]
    assert store.runs.find(other).facts["image_difference"]["sentence"] == "1 package changed"


def test_any_host_goes_on_from_what_is_in_the_object_store(
    staged: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host that flattened the disk died before the first target, with all that it had; what it saw is known."""
    kept_contents.keep(staged.directory, LOOKED_AT)
    before = kept_contents.contents_of(LOOKED_AT)
    key = source_contents.key_of(staged.source.digest, staged.host.container_image.digest)
    source_contents.keep(staged.host.settings.source_contents, key, before)
    source = ResolvedSource(Path("x"), "qcow2", "d", "12.1.0", 1, "Linux", 1024, "x")
    disk = KeptDiskFacts(host_id="another", boot_id="b", folder=RUN_ID, sizes={}, digests={}, resources=[])
    record(store, RUN_ID, FinishedWork(1, "m", source, 1024, disk))
    staged.host = replace(staged.host, shared=a_host(tmp_path / "first", store, tmp_path / "objects"))
    staged.request = replace(staged.request, template_id="/t")
    with monkeypatch.context() as dying:
        dying.setattr(distributing, "_publish_where_a_group_is", lambda *_: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            attempt(staged)
    staged.request = replace(staged.request, template_id="", attempt=2)
    work = recorded(store.runs.find(RUN_ID))
    assert work is not None
    assert work.image is not None
    shutil.rmtree(staged.directory)
    staged.directory.mkdir()
    store.runs.move(RUN_ID, expected=[RunState.RUNNING], state=RunState.QUEUED)
    store.runs.add_facts(RUN_ID, attempt=2)
    second = a_host(tmp_path / "second", store, tmp_path / "objects")
    assert second.images.reconcile() == [], "what a run that waits goes on from is not deleted"
    settings = Settings(tmp_path / "second", release_policy="provenance")
    staged.host = replace(staged.host, settings=settings, shared=second)

    async def flatten(*_: Any) -> None:
        raise AssertionError("it is flattened already")

    monkeypatch.setattr(flattening, "flatten", flatten)
    assert [row.state for row in attempt(staged)] == ["Succeeded"] * 3
    published = [image for image in store.images.of_run(RUN_ID) if image.format == "qcow2"]
    for image in published:
        documents = store.images.documents_of(image.artifact_id)
        assert read_contents(documents[CONTENTS]).packages == kept_contents.contents_of(LOOKED_AT).packages
        assert SBOM in documents
        assert read_contents(documents[SOURCE_CONTENTS]) == before
    assert {image.digest for image in published} == {work.image.digest}
    assert {sha256_of(image.path) for image in published} == {work.image.digest}
    store.runs.move(RUN_ID, expected=[RunState.QUEUED], state=RunState.FAILED)
    for image in published:
        remove(image, store)
    assert len(second.images.reconcile()) == 1, "nobody goes on with a run that has ended"


def test_what_is_too_much_for_the_record_of_a_run_is_told(
    staged: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    staged.tell = lambda event: told.append(getattr(event, "text", ""))
    kept_contents.keep(staged.directory, LOOKED_AT)
    source = ResolvedSource(Path("x"), "qcow2", "d", "12.1.0", 1, "Linux", 1024, "x")
    disk = KeptDiskFacts(host_id="another", boot_id="b", folder=RUN_ID, sizes={}, digests={}, resources=[])
    record(store, RUN_ID, FinishedWork(1, "m", source, 1024, disk))
    staged.host = replace(staged.host, shared=a_host(tmp_path / "first", store, tmp_path / "objects"))
    monkeypatch.setattr(finished_work, "MOST_CONTENTS_BYTES", 10)
    attempt(staged)
    assert [text for text in told if "too much" in text] == [
        "what is in the image is too much to be recorded: another host that goes on publishes without it"
    ]


def a_host(home: Path, store: Store, objects: Path) -> SharedStorage:
    """What a host shares with others in a directory."""
    objects.mkdir(exist_ok=True)
    settings = Settings(home, object_store=objects.as_uri())
    storage = shared_storage(settings, store)
    assert storage is not None
    return storage


def test_a_lock_that_comes_while_an_image_is_published_fails_no_output(
    staged: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = IMAGE_ID.partition("/providers/")[0]
    place = group.split("/")
    lock = f"{group}/providers/{LOCK}/keep"
    rows = {
        RESOURCE_GROUP: ResourceRow(group, RESOURCE_GROUP, place[4], place[2], place[4], "l"),
        LOCK: ResourceRow(lock, LOCK, "keep", place[2], place[4], properties={"level": "ReadOnly"}),
    }
    store.resources.put(rows[RESOURCE_GROUP])
    publish = distributing._publish

    async def and_lock(*arguments: Any) -> Any:
        artifact = await publish(*arguments)
        store.resources.put(rows[LOCK])
        return artifact

    monkeypatch.setattr(distributing, "_publish", and_lock)
    template = ImageTemplate.model_validate(
        {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": [MANAGED]}}
    )
    staged.request = replace(staged.request, template=template, template_id=f"{group}/t")
    assert [output.state for output in attempt(staged)] == ["Succeeded"]
    store.runs.add(RunRow("b" * 36, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    staged.request = replace(staged.request, run_id="b" * 36)
    with pytest.raises(DistributionFailed, match="following scope"):  # the next one is refused
        attempt(staged)
