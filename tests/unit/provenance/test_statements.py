"""A file is verified against a statement that names its digest, whoever signed it and whenever."""

from pathlib import Path

import pytest
from provenance import A_KEY, A_STATEMENT, DIGEST, OTHER_KEY, a_record

from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.provenance import image_key
from vmkiln.provenance.envelope import ProvenanceRefused, signed
from vmkiln.provenance.statement import BuildRecord, Material, Subject, statement, with_subject
from vmkiln.provenance.verification import verify
from vmkiln.sealing.key_ring import KeyRing, Purpose

KEYS = {A_KEY.key_id: A_KEY.public}


def test_a_file_of_the_statement_is_verified_with_what_matters() -> None:
    verdict = verify({"disk.qcow2": DIGEST}, signed(A_STATEMENT, A_KEY), KEYS)
    assert (verdict.key_id, verdict.subjects) == (A_KEY.key_id, ("web/disk.qcow2",))
    summary = verdict.summary
    assert (summary["verified"], summary["builder"]) == (True, "urn:vmkiln:builder:emulated")
    assert summary["source"]["annotations"] == {"exactVersion": "12.1"}


def test_another_file_or_no_file_is_refused() -> None:
    envelope = signed(A_STATEMENT, A_KEY)
    with pytest.raises(ProvenanceRefused, match=r"not about disk\.qcow2"):
        verify({"disk.qcow2": DIGEST[::-1]}, envelope, KEYS)
    with pytest.raises(ProvenanceRefused, match="no file"):
        verify({}, envelope, KEYS)
    with pytest.raises(ProvenanceRefused, match=r"not about data\.qcow2"):
        verify({"disk.qcow2": DIGEST, "data.qcow2": "0" * 64}, envelope, KEYS)


def test_a_statement_of_another_build_is_not_one_of_this_image() -> None:
    """Replayed: signed with the same key, about the image of another run."""
    other = statement([Subject("web/disk.qcow2", "f" * 64)], a_record(run_id="other"), finished=a_record().began)
    with pytest.raises(ProvenanceRefused, match="not about"):
        verify({"disk.qcow2": DIGEST}, signed(other, A_KEY), KEYS)


@pytest.mark.parametrize(
    "changed",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://spdx.dev/Document"},
        {"predicate": {"buildDefinition": {"buildType": "https://example.org/other"}}},
        {"predicate": {}},
        {"subject": [{"name": "x"}]},
        {"subject": 7},
    ],
    ids=str,
)
def test_a_signed_statement_of_another_kind_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ProvenanceRefused):
        verify({"disk.qcow2": DIGEST}, signed({**A_STATEMENT, **changed}, A_KEY), KEYS)


def test_a_file_made_of_the_image_is_one_more_subject() -> None:
    told = with_subject(A_STATEMENT, Subject("web.raw", "c" * 64))
    assert verify({"web.raw": "c" * 64, "disk.qcow2": DIGEST}, signed(told, A_KEY), KEYS).subjects[0] == "web.raw"
    assert told["predicate"] == A_STATEMENT["predicate"]


def test_whatever_is_known_of_a_build_changes_its_statement() -> None:
    changes: list[BuildRecord] = [
        a_record(run_id="x"),
        a_record(isolation_level="hardware"),
        a_record(chosen={"template": {"location": "there"}}),
        a_record(decided={}),
        a_record(materials=[Material("source", "d" * 64)]),
        a_record(byproducts=[]),
        a_record(versions={}),
        a_record(began=a_record().began.replace(year=2025)),
    ]
    subjects = [Subject("web/disk.qcow2", DIGEST)]
    told = [statement(subjects, record, finished=a_record().began) for record in changes]
    assert A_STATEMENT not in told
    assert all(told.count(one) == 1 for one in told)


def test_what_an_older_key_signed_stays_to_be_verified(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    first = image_key.current(ring)
    envelope = signed(A_STATEMENT, first)
    second = ring.rotate(Purpose.IMAGES, image_key.new_material)
    assert image_key.current(ring) == second
    assert list(image_key.public_keys(ring)) == [second.key_id, first.key_id]
    assert verify({"disk.qcow2": DIGEST}, envelope, image_key.public_keys(ring)).key_id == first.key_id
    retired = ring.find(Purpose.IMAGES, first.key_id)
    assert retired.secret == b""
    with pytest.raises(KeyUnavailable, match="signs no more"):
        signed(A_STATEMENT, retired)
    ring.forget_older(Purpose.IMAGES)
    with pytest.raises(ProvenanceRefused, match="none of those to trust"):
        verify({"disk.qcow2": DIGEST}, envelope, image_key.public_keys(ring))


def test_public_keys_are_read_from_a_file_and_others_refused() -> None:
    both = f"{A_KEY.public}\n{OTHER_KEY.public}"
    assert list(image_key.keys_in(both, file_name="keys.pem")) == [A_KEY.key_id, OTHER_KEY.key_id]
    for text in ("", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", A_KEY.secret.decode()):
        with pytest.raises(InputError):
            image_key.keys_in(text, file_name="keys.pem")
    assert image_key.key_id_of(A_KEY.public) == A_KEY.key_id


def test_another_images_files_with_their_own_statement_are_not_this_image() -> None:
    """Replayed: an older version, in the place of a newer one, with all that was kept with it."""
    envelope = signed(A_STATEMENT, A_KEY)
    files = {"disk.qcow2": DIGEST}
    assert verify(files, envelope, KEYS, image_id="WEB").subjects == ("web/disk.qcow2",)
    for image_id in ("web2", "we", "web/disk.qcow2"):
        with pytest.raises(ProvenanceRefused, match=f"another image than {image_id}"):
            verify(files, envelope, KEYS, image_id=image_id)
