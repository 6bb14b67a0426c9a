"""Keys that sign are kept apart and rotated; what older ones signed is still known, and a forgotten one's is not."""

from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from vmkiln.api.identity.issuer import Issuer, ensure_issuer, issuer_of, new_key, new_material
from vmkiln.sealing.key_ring import Purpose
from vmkiln.store.rows import PrincipalRow

NOW = datetime.now(UTC)
WHO = PrincipalRow("app", "object", "somebody", NOW, is_disabled=False)


def token(issuer: Issuer) -> str:
    return issuer.token(WHO, audience="x", now=NOW, lasts_seconds=600)


def kept(tmp_path: Path) -> Issuer:
    return ensure_issuer(tmp_path / "service", tmp_path / "keys")


def test_a_key_of_an_older_release_is_moved_and_its_tokens_stay_good(tmp_path: Path) -> None:
    old = new_key()
    (tmp_path / "service").mkdir()
    (tmp_path / "service/signing-key.pem").write_bytes(old)
    (tmp_path / "service/tenant").write_text("tenant\n")
    before = token(issuer_of("tenant", old))
    issuer = kept(tmp_path)
    assert issuer.claims(before, now=NOW)["oid"] == "object"
    assert issuer.key_id == issuer_of("tenant", old).key_id
    assert [path.name for path in (tmp_path / "service").iterdir()] == ["tenant"]
    assert b"PRIVATE KEY" in old
    assert kept(tmp_path).claims(before, now=NOW)["oid"] == "object"


def test_after_a_rotation_the_new_key_signs_and_the_old_one_is_still_known(tmp_path: Path) -> None:
    issuer = kept(tmp_path)
    before = token(issuer)
    key = kept(tmp_path).ring.rotate(Purpose.SIGNING, new_material)  # type: ignore[union-attr]
    after = token(issuer)  # a service that is up uses it at once
    assert jwt.get_unverified_header(after)["kid"] == key.key_id != jwt.get_unverified_header(before)["kid"]
    assert [issuer.claims(text, now=NOW)["oid"] for text in (before, after)] == ["object", "object"]
    assert [told["kid"] for told in issuer.key_set()["keys"]][-1] == key.key_id
    assert len(issuer.key_set()["keys"]) == 2


def test_what_a_forgotten_key_signed_is_void(tmp_path: Path) -> None:
    issuer = kept(tmp_path)
    assert issuer.ring is not None
    before = token(issuer)
    issuer.ring.rotate(Purpose.SIGNING, new_material)
    issuer.ring.forget_older(Purpose.SIGNING)
    with pytest.raises(jwt.InvalidTokenError, match="not known"):
        issuer.claims(before, now=NOW)
    assert len(issuer.key_set()["keys"]) == 1


def test_hosts_that_share_the_folder_know_each_others_tokens(tmp_path: Path) -> None:
    one = ensure_issuer(tmp_path / "one", tmp_path / "keys")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/tenant").write_text(one.tenant_id)
    two = ensure_issuer(tmp_path / "two", tmp_path / "keys")
    assert two.claims(token(one), now=NOW)["oid"] == "object"


def test_a_token_of_a_key_that_is_nobodys_is_refused(tmp_path: Path) -> None:
    issuer = kept(tmp_path)
    with pytest.raises(jwt.InvalidTokenError):
        issuer.claims(token(issuer_of(issuer.tenant_id, new_key())), now=NOW)
