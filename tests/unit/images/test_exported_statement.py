"""The statement goes with an image that leaves, in whatever format, and is verified without us."""

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from in_toto_attestation.v1.statement import Statement
from provenance import a_record
from publishing import a_flat_disk, to_managed_image
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from vmkiln.images.exported_statement import beside, shared_folder, write_beside
from vmkiln.images.image_export import export_image
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import PROVENANCE
from vmkiln.provenance.envelope import ProvenanceRefused, signed
from vmkiln.provenance.statement import Subject, statement
from vmkiln.provenance.verification import verify
from vmkiln.sealing.key_ring import KeyRing, Purpose
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ImageRow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


@pytest.fixture
def image(tmp_path: Path, store: Store) -> ImageRow:
    """A managed image that is kept with its statement."""
    ring = store.seal.ring

    def documents_of(image: ImageRow) -> dict[str, str]:
        told = statement([Subject(image.path.name, image.digest)], a_record(), finished=a_record().began)
        return {PROVENANCE: signed(told, image_key.current(ring))}

    to_managed_image(tmp_path, store, replace(a_flat_disk(tmp_path), documents_of=documents_of))
    return store.images.list()[0]


async def exported(image: ImageRow, store: Store, file: Path) -> Path:
    written = await tried(image, store, file)
    assert written is not None
    return written


async def tried(image: ImageRow, store: Store, file: Path) -> Path | None:
    file.parent.mkdir(exist_ok=True)
    await export_image(image, file, target_format="", may_overwrite=False)
    return write_beside(image, store.images.documents_of(image.artifact_id)[PROVENANCE], file, store.seal.ring)


@pytest.mark.parametrize("name", ["web.qcow2", "web.raw", "web.vhd"])
async def test_an_exported_file_has_a_statement_about_it_beside(
    name: str, image: ImageRow, store: Store, tmp_path: Path
) -> None:
    written = await exported(image, store, tmp_path / "out" / name)
    assert written == tmp_path / "out" / f"{name}.intoto.json"
    digest = hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()
    keys = image_key.public_keys(store.seal.ring)
    verdict = verify({name: digest}, written.read_text(), keys)
    assert verdict.summary["run"] == a_record().run_id
    is_same_file = digest == image.digest
    assert (written.read_text().strip() == store.images.documents_of(image.artifact_id)[PROVENANCE]) == is_same_file
    assert verify({"the image": image.digest}, written.read_text(), keys), "and the statement is about the image, too"


async def test_what_an_older_key_signed_is_exported_by_the_new_one(
    image: ImageRow, store: Store, tmp_path: Path
) -> None:
    first = image_key.current(store.seal.ring)
    second = store.seal.ring.rotate(Purpose.IMAGES, image_key.new_material)
    for name, key in (("web.qcow2", first), ("web.raw", second)):
        written = await exported(image, store, tmp_path / "out" / name)
        assert json.loads(written.read_text())["signatures"][0]["keyid"] == key.key_id


async def test_an_image_that_its_statement_is_not_about_gets_none(
    image: ImageRow, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "web.raw"
    file.write_bytes(b"another disk")
    other = replace(image, digest="0" * 64)
    envelope = store.images.documents_of(image.artifact_id)[PROVENANCE]
    with pytest.raises(ProvenanceRefused):
        write_beside(other, envelope, file, store.seal.ring)
    with pytest.raises(ProvenanceRefused):
        write_beside(image, envelope, file, KeyRing(tmp_path / "keys of another host"))
    assert not beside(file).exists()


@pytest.mark.parametrize("folder", ["out", "."], ids=["its own", "one above"])
async def test_nothing_is_signed_about_a_file_that_others_may_have_changed(
    folder: str, image: ImageRow, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / folder).chmod(0o777)
    assert await tried(image, store, tmp_path / "out" / "web.raw") is None
    assert shared_folder(tmp_path / "out" / "web.raw") == tmp_path / folder
    assert not beside(tmp_path / "out" / "web.raw").exists()
    assert (await exported(image, store, tmp_path / "out" / "web.qcow2")).exists(), "the image's own is signed already"
    (tmp_path / folder).chmod(0o1777)
    (tmp_path / "out" / "web.raw").unlink()
    assert (await exported(image, store, tmp_path / "out" / "web.raw")).exists(), "what lies there is its owner's"


def test_a_folder_of_somebody_else_is_one_that_others_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared_folder(tmp_path / "web.raw") is None
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    found = shared_folder(tmp_path / "web.raw")
    assert found is not None
    assert found.stat().st_uid not in {0, 54321}


async def test_other_peoples_tools_read_and_verify_it(image: ImageRow, store: Store, tmp_path: Path) -> None:
    """The reference implementation of DSSE, and in-toto's own check of a statement."""
    written = await exported(image, store, tmp_path / "out" / "web.raw")
    told = json.loads(written.read_text())
    envelope = Envelope.from_dict(json.loads(written.read_text()))
    ((key_id, public),) = image_key.public_keys(store.seal.ring).items()
    key = SSlibKey(key_id, "ed25519", "ed25519", {"public": _raw(public)})
    assert list(envelope.verify([key], 1)) == [key_id]
    with pytest.raises(VerificationError):
        Envelope.from_dict({**told, "payload": base64.b64encode(b"{}").decode()}).verify([key], 1)
    found = Statement.copy_from_pb(_as_message(envelope.payload))
    found.validate()
    assert [subject.name for subject in found.pb.subject] == ["web.raw", image.path.name]


def _raw(public: str) -> str:
    """The 32 bytes at the end of an Ed25519 key, as hexadecimal."""
    return base64.b64decode("".join(public.splitlines()[1:-1]))[-32:].hex()


def _as_message(payload: bytes) -> object:
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2

    return json_format.Parse(payload, statement_pb2.Statement())


async def test_the_commands_of_the_docs_verify_it_without_us(image: ImageRow, store: Store, tmp_path: Path) -> None:
    """The shell lines of docs/provenance.md, as they stand there: openssl, jq and sha256sum."""
    place = tmp_path / "out"
    written = await exported(image, store, place / "web.raw")
    (public,) = image_key.public_keys(store.seal.ring).values()
    (place / "keys.pem").write_text(public)
    script = re.search(r"```sh\n(#!/bin/sh.*?)```", (ROOT / "docs/provenance.md").read_text(), re.DOTALL)
    assert script is not None
    (place / "verify.sh").write_text(script[1])

    def verified(file: str = "web.raw") -> bool:
        command = ["sh", "verify.sh", file, "keys.pem"]
        ended = subprocess.run(command, cwd=place, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)
        return ended.returncode == 0

    assert verified()
    good = written.read_text()
    told = json.loads(good)
    payload = base64.b64decode(told["payload"])
    changes = {
        "payload": base64.b64encode(payload.replace(b"emulated", b"hardware")).decode(),
        "payloadType": "text/plain",
        "signatures": [{**told["signatures"][0], "sig": base64.b64encode(bytes(64)).decode()}],
    }
    for member, value in changes.items():
        written.write_text(json.dumps({**told, member: value}))
        assert not verified(), member
    written.write_text(good)
    (place / "keys.pem").write_text(image_key.new_material().public)
    assert not verified()
    (place / "keys.pem").write_text(public)
    assert verified()
    with (place / "web.raw").open("ab") as file:
        file.write(b"x")
    assert not verified()
