"""`vmkiln image verify` says yes with 0, no with 1, nothing to verify with 2; `sbom` and `diff` tell what is inside."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from json_contract import check_answer
from provenance import a_record
from publishing import a_flat_disk, to_managed_image

from vmkiln.cli import main
from vmkiln.image_contents.contents import ImageContents
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS, PROVENANCE, SBOM
from vmkiln.provenance.envelope import signed
from vmkiln.provenance.statement import Subject, statement
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import ImageRow

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("VMKILN_HOME", str(home))
    home.mkdir(mode=0o700)
    published(home)
    return home


def published(home: Path, *, told_of: str = "") -> None:
    """An image `web` with its statement; or with one that is about another image, of the same bytes."""
    with opened(Settings(home).database, home=home) as store:

        def documents_of(image: ImageRow) -> dict[str, str]:
            subject = Subject(f"{told_of or image.artifact_id}/{image.path.name}", image.digest)
            told = statement([subject], a_record(), finished=a_record().began)
            return {PROVENANCE: signed(told, image_key.current(store.seal.ring))}

        to_managed_image(home, store, replace(a_flat_disk(home), documents_of=documents_of))
        shutil.rmtree(home / "runs", ignore_errors=True)


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main.main(["image", *arguments])
        return int(ended.value.code or 0), "".join(capfd.readouterr())

    return run


def test_an_image_is_verified_and_told_where_it_comes_from(run: Run) -> None:
    code, text = run("verify", "web")
    assert (code, "verified: " in text, "https://images.example/12 12.1" in text) == (0, True, True)
    code, text = run("verify", "web", "--json")
    check_answer("image verify", json.loads(text))
    assert (code, json.loads(text)["run"]) == (0, a_record().run_id)
    code, text = run("verify", "--public-key", "--json")
    check_answer("image verify", json.loads(text))
    assert (code, "BEGIN PUBLIC KEY" in text) == (0, True)


def test_an_image_whose_bytes_were_changed_is_refused(run: Run, home: Path) -> None:
    (file,) = (home / "images").rglob("disk.qcow2")
    file.chmod(0o600)
    with file.open("r+b") as content:
        content.seek(200)
        content.write(b"x")
    code, text = run("verify", "web")
    assert (code, "the statement is not about disk.qcow2" in text) == (1, True)


def test_an_image_with_the_statement_of_another_is_refused(run: Run, home: Path) -> None:
    shutil.rmtree(home)
    home.mkdir(mode=0o700)
    published(home, told_of="/subscriptions/0/images/web-1")
    code, text = run("verify", "web")
    assert (code, "the statement is about another image than /" in text) == (1, True)


def test_an_exported_file_is_verified_with_the_keys_that_it_was_given(run: Run, tmp_path: Path) -> None:
    file, keys, other = tmp_path / "out.qcow2", tmp_path / "keys.pem", tmp_path / "other.pem"
    assert run("export", "web", str(file))[0] == 0
    code, text = run("verify", "--public-key")
    keys.write_text(text)
    other.write_text(image_key.new_material().public)
    assert (code, run("verify", str(file), "--key", str(keys))[0]) == (0, 0)
    assert run("verify", str(file), "--key", str(other))[0] == 1
    code, text = run("provenance", "web", "--signed")
    statement_file = tmp_path / "statement.json"
    statement_file.write_text(text)
    assert run("verify", str(file), "--statement", str(statement_file))[0] == 0
    with file.open("ab") as content:
        content.write(b"x")
    assert run("verify", str(file))[0] == 1


def test_what_is_exported_where_others_write_is_whole_and_has_no_statement(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "everybodys"
    folder.mkdir()
    folder.chmod(0o777)
    code, text = run("export", "web", str(folder / "out.raw"))
    assert (code, f"others may change what lies in {folder}: export into" in text) == (0, True)
    assert [file.name for file in folder.iterdir()] == ["out.raw"]


def test_an_image_is_verified_by_an_older_key_until_that_is_forgotten(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def rotate(*options: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main.main(["key", "rotate", "images", *options])
        assert not ended.value.code, capfd.readouterr()
        capfd.readouterr()

    file, older = str(tmp_path / "out.qcow2"), tmp_path / "older.pem"
    older.write_text(run("verify", "--public-key")[1])
    assert run("export", "web", file)[0] == 0
    rotate()
    assert [run("verify", image)[0] for image in ("web", file)] == [0, 0]
    rotate("--forget-older")
    for image in ("web", file):
        code, text = run("verify", image)
        assert (code, "none of those to trust" in text) == (1, True)
    assert run("verify", file, "--key", str(older))[0] == 0, "who kept the key can still tell"


@pytest.mark.parametrize(
    "arguments",
    [(), ("nothing",), ("web", "--key", "/nonexistent"), ("web", "--statement", "/nonexistent"), (__file__,)],
)
def test_where_there_is_nothing_to_verify_it_says_so(run: Run, arguments: tuple[str, ...]) -> None:
    code, text = run("verify", *arguments)
    assert (code, "error: " in text) == (2, True)


def test_the_statement_is_printed_as_it_is_meant_to_be_read(run: Run) -> None:
    code, text = run("provenance", "web")
    assert (code, json.loads(text)["predicate"]["runDetails"]["metadata"]["invocationId"]) == (0, a_record().run_id)


def test_what_is_in_images_is_told_and_compared(run: Run, home: Path) -> None:
    assert run("sbom", "web")[0] == 2
    with opened(Settings(home).database, home=home) as store:
        image = store.images.list()[0]
        for name, version in (("Web", "1"), ("Other", "2")):
            contents = ImageContents(packages=(Package("bash", "amd64", version),), unproven=("x",), listening={})
            artifact_id = image.artifact_id.replace("Web", name)
            store.images.replace(
                replace(image, artifact_id=artifact_id), documents={CONTENTS: contents.text, SBOM: '{"bill": 1}'}
            )
    assert run("sbom", "web") == (0, '{"bill": 1}\n')
    code, text = run("diff", "web", "other")
    assert (code, text.splitlines()) == (
        0,
        ["packages:", "  ~ bash:amd64: 1 -> 2", "not known: x", "1 package changed"],
    )
    found = json.loads(run("diff", "web", "other", "--json")[1])
    check_answer("image diff", found)
    assert found["changed"] == {"packages": {"bash:amd64": ["1", "2"]}}
    assert run("diff", "web", "web")[1].splitlines() == ["not known: x", "nothing differs"]


def test_an_oci_artifact_is_exported_with_the_statement_of_its_image(run: Run, tmp_path: Path) -> None:
    code, text = run("export", "web", str(tmp_path / "oci"), "--format", "oci", "--json")
    check_answer("image export", json.loads(text))
    digest = json.loads(text)["digest"].removeprefix("sha256:")
    manifest = json.loads((tmp_path / "oci/blobs/sha256" / digest).read_bytes())
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
    assert (code, titles) == (0, ["Web.qcow2", "Web.intoto.json"])
    code, text = run("export", "web", str(tmp_path / "two"), "--format", "oci", "--compress")
    assert (code, "no --compress" in text) == (2, True)
