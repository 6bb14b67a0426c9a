"""`vmkiln trust`: which browsers are told, what they are told, and that it is taken back."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmkiln.api.identity.tls import ensure_tls
from vmkiln.cli.main import app

CERTUTIL = """#!/bin/sh
# keeps each name that a store is told as a file in it, and says what it was asked
echo "$*" >> "$HOME/asked"
for word; do case $word in sql:*) store=${word#sql:} ;; vmkiln-*) name=$word ;; esac; done
[ -z "$FAILS" ] || { echo "SEC_ERROR_BAD_DATABASE" >&2; exit 255; }
case $1 in
    -N) : > "$store/cert9.db" ;;
    -A) : > "$store/$name" ;;
    -D) rm -- "$store/$name" ;;
    -L) [ -e "$store/$name" ] ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a browser of each kind, a service that was started, and a stand-in for certutil."""
    for name, value in (
        ("HOME", tmp_path),
        ("VMKILN_HOME", tmp_path / "state"),
        ("PATH", f"{tmp_path}/bin:/usr/bin:/bin"),
    ):
        monkeypatch.setenv(name, str(value))
    for store in (".mozilla/firefox/x.default", ".mozilla/firefox/old", "bin"):
        (tmp_path / store).mkdir(parents=True)
    (tmp_path / ".mozilla/firefox/x.default/cert9.db").touch()
    (tmp_path / "bin/certutil").write_text(CERTUTIL)
    (tmp_path / "bin/certutil").chmod(0o755)
    ensure_tls(tmp_path / "state/service/tls", ["localhost"], now=datetime.now(UTC))
    return tmp_path


def trusted_in(home: Path) -> list[str]:
    """The stores that have the authority."""
    return sorted({path.parent.name for path in home.rglob("vmkiln-*") if path.parent.name != "state"})


def test_each_browser_trusts_it_once_and_no_more_when_that_is_undone(home: Path) -> None:
    for _ in range(2):
        done = CliRunner().invoke(app, ["trust"])
        assert done.exit_code == 0, done.output
        assert trusted_in(home) == ["nssdb", "x.default"]
    added = [line for line in (home / "asked").read_text().splitlines() if line.startswith("-A")]
    assert len(added) == 2, "what is trusted already is left alone"
    assert all(f"-t C,, -i {home}/state/service/tls/ca.pem" in line for line in added)
    assert "install -m 644" in done.stderr
    undone = CliRunner().invoke(app, ["trust", "--undo"])
    assert (undone.exit_code, trusted_in(home)) == (0, [])
    assert "update-ca-certificates --fresh" in undone.stderr
    again = CliRunner().invoke(app, ["trust", "--undo"])
    assert (again.exit_code, "not trusted already" in again.stderr) == (0, True)


def test_what_is_printed_changes_nothing_and_is_what_would_be_run(home: Path) -> None:
    printed = CliRunner().invoke(app, ["trust", "--print"])
    lines = [shlex.split(line) for line in printed.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["mkdir", "-p"], ["certutil", "-N"], ["certutil", "-A"], ["certutil", "-A"]]
    assert not (home / "asked").exists()
    assert not (home / ".pki").exists()


def test_undone_where_no_browser_is_makes_no_store(home: Path) -> None:
    (home / ".mozilla/firefox/x.default/cert9.db").unlink()
    undone = CliRunner().invoke(app, ["trust", "--undo"])
    assert (undone.exit_code, "no browser of this user has it" in undone.stderr) == (0, True)
    assert not (home / ".pki").exists()


def test_without_the_program_it_says_which_package_has_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    done = CliRunner().invoke(app, ["trust"])
    assert getattr(done.exception, "exit_code", None) == 3
    assert "libnss3-tools" in str(getattr(done.exception, "hint", ""))


def test_a_store_that_cannot_be_changed_is_told_and_the_others_are_tried(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "bin/certutil").write_text(CERTUTIL.replace('[ -z "$FAILS" ]', "case $store in *x.default) false ;; esac"))
    done = CliRunner().invoke(app, ["trust"])
    assert "SEC_ERROR_BAD_DATABASE" in done.stderr
    assert getattr(done.exception, "exit_code", None) == 1
    assert trusted_in(home) == ["nssdb"]


def test_there_has_to_be_an_authority_of_ours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKILN_TLS_CERT", str(home / "own.pem"))
    monkeypatch.setenv("VMKILN_TLS_KEY", str(home / "own.key"))
    own = CliRunner().invoke(app, ["trust"])
    assert getattr(own.exception, "exit_code", None) == 2
    monkeypatch.delenv("VMKILN_TLS_CERT")
    monkeypatch.delenv("VMKILN_TLS_KEY")
    monkeypatch.setenv("VMKILN_HOME", str(home / "new"))
    none = CliRunner().invoke(app, ["trust"])
    assert getattr(none.exception, "exit_code", None) == 3
    assert "vmkiln serve" in str(getattr(none.exception, "hint", ""))
