"""A back-up made and restored in the order of docs/operations.md, after more was published: nothing is deleted."""

import asyncio
import json
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from json_contract import check_answer
from publishing import COMPUTE, a_flat_disk, to_gallery, to_managed_image
from typer.testing import CliRunner, Result

from vmkiln.audit.act_names import IMAGE_ADOPT, IMAGE_PURGE
from vmkiln.cli.completing import quarantined_names
from vmkiln.cli.main import app
from vmkiln.errors import ImageNotFound, InputError
from vmkiln.images.image_store import verified
from vmkiln.preparation import opened_store
from vmkiln.settings import Settings
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import utc_now

FILES = ("images", "staging", "service", "blobs")
SECRET = "hunter22"
WEB, VERSION = f"{COMPUTE}/images/Web", f"{COMPUTE}/galleries/G/images/Web/versions/1.0.0"


def quietly(_text: str) -> None:
    pass


def vmkiln(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def told(*words: str) -> list[dict[str, Any]]:
    done = vmkiln(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    check_answer(" ".join(words), found)
    return found


def names(*words: str) -> list[str]:
    return sorted(row["artifact_id"] for row in told(*words))


def of_one(command: str, *arguments: str) -> Any:
    done = vmkiln(*command.split(), *arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    check_answer(command, found)
    return found


def save_database(settings: Settings, kept: Path) -> None:
    with sqlite3.connect(settings.database) as from_, sqlite3.connect(kept) as to:
        from_.backup(to)
    from_.close()
    to.close()


def acts(settings: Settings) -> list[str]:
    now = utc_now()
    with opened_store(settings, quietly) as store:
        query = AuditQuery("s", now - timedelta(hours=1), now + timedelta(hours=1))
        return [act.operation for act in store.audit.find(query, limit=5)]


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A new machine's state: the database is the oldest part of it, an image and a version were published after it."""
    old, kept, new = Settings(tmp_path / "old"), tmp_path / "kept", Settings(tmp_path / "new")
    kept.mkdir()
    with opened_store(old, quietly) as store:
        sealed = store.seal.sealed(SECRET, place="/a/template")
        save_database(old, kept / "vmkiln.sqlite")
        to_managed_image(old.home, store, a_flat_disk(old.home))
        to_gallery(old.home, store, a_flat_disk(old.home / "second"))
    with opened_store(old, quietly):  # the clean-up that comes every minute
        pass
    for name in FILES:
        if (old.home / name).is_dir():
            shutil.copytree(old.home / name, kept / name)
    shutil.copytree(old.keys_folder, kept / "keys")
    shutil.rmtree(old.home)

    shutil.copytree(kept / "keys", new.keys_folder)
    for name in FILES:
        if (kept / name).is_dir():
            shutil.copytree(kept / name, new.home / name)
    shutil.copy(kept / "vmkiln.sqlite", new.database)
    monkeypatch.setenv("VMKILN_HOME", str(new.home))
    with opened_store(new, quietly) as store:
        assert store.seal.opened(sealed, place="/a/template") == SECRET
    return new


def test_what_is_newer_than_the_database_is_kept_listed_and_adopted(restored: Settings) -> None:
    assert names("image", "list") == []
    assert names("image", "quarantine") == sorted([WEB, VERSION]) == sorted(quarantined_names(""))
    assert "Web" in vmkiln("image", "quarantine").stdout
    assert of_one("image adopt", "Web/versions/1.0.0") == {"adopted": [VERSION]}
    assert (names("image", "list"), names("image", "quarantine")) == ([VERSION], [WEB])
    assert (quarantined_names(""), quarantined_names("x")) == ([WEB], [])
    assert vmkiln("image", "adopt", "--all").exit_code == 0
    assert (names("image", "list"), names("image", "quarantine")) == (sorted([WEB, VERSION]), [])
    with opened_store(restored, quietly) as store:
        for image in store.images.list():
            asyncio.run(verified(image))
    assert acts(restored) == [IMAGE_ADOPT, IMAGE_ADOPT]


def test_what_is_purged_is_gone_and_the_rest_stays(restored: Settings) -> None:
    assert of_one("image purge", "images/web", "--yes") == {"deleted": [WEB]}
    assert (names("image", "list"), names("image", "quarantine")) == ([], [VERSION])
    assert quarantined_names("") == [VERSION]
    assert len(list(restored.image_store.iterdir())) == 1
    assert acts(restored) == [IMAGE_PURGE]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("adopt",), InputError),
        (("adopt", "x", "--all"), InputError),
        (("adopt", "nothing"), ImageNotFound),
        (("purge", "nothing", "--yes"), ImageNotFound),
    ],
)
def test_what_is_not_in_quarantine_is_refused(
    restored: Settings, words: tuple[str, ...], kind: type[Exception]
) -> None:
    del restored
    assert isinstance(vmkiln("image", *words).exception, kind)


@pytest.mark.parametrize("words", [("adopt", "--all"), ("purge", "--all")])
def test_that_nothing_was_in_quarantine_is_told(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "empty"))
    done = vmkiln("image", *words)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith("no image is in quarantine\n")
