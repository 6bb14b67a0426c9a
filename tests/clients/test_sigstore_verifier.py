"""Sigstore's verifier for JavaScript, with which npm checks provenance, takes what we signed and nothing else."""

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from provenance import a_record

from vmkiln.provenance import image_key
from vmkiln.provenance.envelope import signed
from vmkiln.provenance.statement import Subject, statement
from vmkiln.sealing.key_ring import KeyRing, Purpose

DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
PROGRAM = Path(__file__).with_name("sigstore_verify.mjs")


@pytest.fixture
def npm() -> Path:
    """npm, with sigstore's modules."""
    found = shutil.which("npm")
    assert found is not None, "npm is not installed"
    whole = Path(found).resolve().parents[1]
    if not (whole / "node_modules/@sigstore/verify").is_dir():
        pytest.skip("this npm has no sigstore of its own")
    return whole


def an_envelope(ring: KeyRing, digest: str = DIGEST) -> dict[str, Any]:
    told = statement([Subject("web.raw", digest)], a_record(), finished=a_record().began)
    found: dict[str, Any] = json.loads(signed(told, image_key.current(ring)))
    return found


def said_of(npm: Path, ring: KeyRing, *envelopes: Mapping[str, Any]) -> list[Any]:
    """What the verifier says of envelopes, by the public keys of this ring."""
    bundles: Sequence[object] = [
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": one["signatures"][0]["keyid"]}, "tlogEntries": []},
            "dsseEnvelope": one,
        }
        for one in envelopes
    ]
    keys = {key_id: "".join(text.splitlines()[1:-1]) for key_id, text in image_key.public_keys(ring).items()}
    command, asked = ["node", str(PROGRAM), str(npm)], json.dumps({"keys": keys, "bundles": bundles})
    ended = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=60)
    found: list[Any] = json.loads(ended.stdout)
    return found


def test_what_was_signed_is_taken_and_whatever_was_changed_is_not(npm: Path, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    good, another = an_envelope(ring), an_envelope(ring, OTHER_DIGEST)
    [signature] = good["signatures"]
    payload = base64.b64decode(good["payload"]).replace(b"emulated", b"hardware")
    changed = [
        good | {"payload": base64.b64encode(payload).decode()},
        good | {"payload": another["payload"]},
        good | {"payloadType": "application/json"},
        good | {"signatures": [signature | {"sig": base64.b64encode(bytes(64)).decode()}]},
        good | {"signatures": another["signatures"]},
        an_envelope(KeyRing(tmp_path / "keys of another")),
    ]
    assert said_of(npm, ring, good, another, *changed) == [
        [DIGEST],
        [OTHER_DIGEST],  # which is not the image that somebody puts it beside
        *["SIGNATURE_ERROR"] * 5,
        "PUBLIC_KEY_ERROR",
    ]


def test_a_key_that_signs_no_more_is_known_until_it_is_forgotten(npm: Path, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    old = an_envelope(ring)
    ring.rotate(Purpose.IMAGES, image_key.new_material)
    assert said_of(npm, ring, old, an_envelope(ring)) == [[DIGEST], [DIGEST]]
    ring.forget_older(Purpose.IMAGES)
    assert said_of(npm, ring, old, an_envelope(ring)) == ["PUBLIC_KEY_ERROR", [DIGEST]]
