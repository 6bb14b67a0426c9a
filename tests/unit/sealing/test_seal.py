"""What is sealed opens with its key, for its place, and for nobody else; keys last, and are their owner's alone."""

import json
import stat
from pathlib import Path

import pytest

from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.sealing import key_ring
from vmkiln.sealing.key_ring import KeyRing, Material, Purpose, keys_beside, new_secret
from vmkiln.sealing.seal import Seal, key_id_of

VALUE = {"texts": {"a": "hunter22"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_what_is_sealed_opens_for_its_place_alone(folder: Path) -> None:
    seal = Seal(folder)
    text = seal.sealed(VALUE, place="/a")
    assert "hunter22" not in text
    assert Seal(folder).opened(text, place="/a") == VALUE
    with pytest.raises(KeyUnavailable, match="another's"):
        seal.opened(text, place="/b")
    assert seal.sealed(VALUE, place="/a") != text, "the nonce is another one each time"


@pytest.mark.parametrize(
    "change", [lambda text: text[:-3] + "AAA", lambda text: text[:40], lambda text: "v9" + text[2:]]
)
def test_what_was_changed_is_refused(folder: Path, change: object) -> None:
    seal = Seal(folder)
    text = seal.sealed(VALUE, place="/a")
    with pytest.raises(KeyUnavailable):
        seal.opened(change(text), place="/a")  # type: ignore[operator]


def test_a_text_of_another_key_cannot_be_passed_off(folder: Path) -> None:
    seal = Seal(folder)
    old = seal.sealed(VALUE, place="/a")
    new = seal.ring.rotate(Purpose.SECRETS, new_secret)
    version, _, content = old.split(".")
    with pytest.raises(KeyUnavailable):
        seal.opened(f"{version}.{new.key_id}.{content}", place="/a")


def test_after_a_rotation_the_old_opens_and_the_new_key_seals(folder: Path) -> None:
    seal, other = Seal(folder), Seal(folder)
    old = other.sealed(VALUE, place="/a")
    key = seal.ring.rotate(Purpose.SECRETS, new_secret)
    new = other.sealed(VALUE, place="/a")  # a process that goes on sees the key that a command made
    assert (key_id_of(new), key_id_of(old) != key.key_id) == (key.key_id, True)
    assert [seal.opened(text, place="/a") for text in (old, new)] == [VALUE, VALUE]


def test_keys_are_their_owners_alone_and_the_first_is_made_once(folder: Path) -> None:
    first = KeyRing(folder).current(Purpose.SECRETS, new_secret)
    assert KeyRing(folder).current(Purpose.SECRETS, new_secret) == first
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert "secret=" not in repr(first)


def test_a_key_that_signs_no_more_keeps_only_what_may_be_shown(folder: Path) -> None:
    ring = KeyRing(folder)
    ring.current(Purpose.SIGNING, lambda: Material(b"private-1", "public-1", "one"))
    sealing = ring.current(Purpose.SECRETS, new_secret)
    ring.rotate(Purpose.SIGNING, lambda: Material(b"private-2", "public-2", "two"))
    one, two = KeyRing(folder).keys(Purpose.SIGNING)
    assert (one.secret, one.public, two.secret) == (b"", "public-1", b"private-2")
    assert KeyRing(folder).keys(Purpose.SECRETS) == [sealing]


def test_a_missing_key_says_which_and_where(folder: Path) -> None:
    with pytest.raises(KeyUnavailable, match=r"the key abc .* is not in .*keys\.json") as caught:
        KeyRing(folder).find(Purpose.SECRETS, "abc")
    assert "keys" not in caught.value.outside.replace("a key of", "")
    with pytest.raises(KeyUnavailable, match="nobody said"):
        Seal(None).sealed(VALUE, place="/a")


@pytest.mark.parametrize("text", ["", "{", '{"keys": 1}', '{"keys": [{"id": "a"}]}', '{"keys": [{"secret": "%"}]}'])
def test_a_file_that_is_no_ring_is_refused_and_stays(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / key_ring.FILE).write_text(text)
    with pytest.raises(KeyUnavailable, match="cannot be read"):
        KeyRing(folder).current(Purpose.SECRETS, new_secret)
    assert (folder / key_ring.FILE).read_text() == text


def test_there_is_a_limit_of_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "MOST_KEYS", 2)
    ring = KeyRing(folder)
    ring.rotate(Purpose.SECRETS, new_secret)
    ring.rotate(Purpose.SECRETS, new_secret)
    with pytest.raises(InputError, match="no more are kept"):
        ring.rotate(Purpose.SECRETS, new_secret)
    assert len(json.loads(ring.file.read_text())["keys"]) == 2


def test_keys_lie_beside_the_state_directory_and_not_in_it() -> None:
    assert keys_beside(Path("/var/lib/vmkiln")) == Path("/var/lib/vmkiln-keys")
