"""What waits in a build VM that is saved: what it changes in files, and that any Python 3.6 reads it."""

import ast
import importlib.util
import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from vmkiln.warm.saved_base import FOLDER, RENEWAL, SAYS

DBUS = "/var/lib/dbus/machine-id"


@pytest.fixture(scope="module")
def renewal() -> Any:
    """The program as a module."""
    loader = SourceFileLoader("guest_renewal", str(RENEWAL))
    spec = importlib.util.spec_from_loader("guest_renewal", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.load_the_rest()
    return module


def test_pythons_of_old_guests_read_it_and_it_says_what_is_waited_for(renewal: Any) -> None:
    ast.parse(RENEWAL.read_text(), feature_version=(3, 6))
    assert (renewal.SAYS, renewal.FOLDER) == (SAYS, FOLDER)


def test_the_runs_key_takes_the_place_of_the_one_that_was_thrown_away(renewal: Any, tmp_path: Path) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_text('from="10.0.0.4" ssh-ed25519 OLD vmkiln-build\nssh-rsa OTHER of the image\n')
    renewal.replace_key(str(keys), "ssh-ed25519 NEW vmkiln-build")
    assert keys.read_text() == 'from="10.0.0.4" ssh-ed25519 NEW vmkiln-build\nssh-rsa OTHER of the image\n'
    assert keys.stat().st_mode & 0o777 == 0o600
    keys.write_text("ssh-rsa OTHER of the image\n")
    with pytest.raises(RuntimeError, match="has 0 keys of a build"):
        renewal.replace_key(str(keys), "ssh-ed25519 NEW vmkiln-build")


def test_what_addresses_and_ids_are_made_of_is_another_machines_too(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(renewal, "text_of", lambda _path: "0" * 32)
    monkeypatch.setattr(renewal, "write", lambda path, content, _mode: written.update({path: content}))
    secret = tmp_path / "secret_key"
    secret.write_text("of the one that was saved")
    monkeypatch.setattr(renewal, "NETWORK_SECRET", str(secret))
    assert renewal.replace_ids() == "0" * 32
    assert not secret.exists()
    assert written["/etc/machine-id"] != "0" * 32 + "\n"
    renewal.replace_ids()


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_new_machine_id_has_the_mode_of_the_one_before(
    renewal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Else an image would tell by it whether its build went on from a saved VM."""
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0" * 32 + "\n")
    machine_id.chmod(mode)
    write, stat = renewal.write, renewal.mode_of
    written: dict[str, int] = {}

    def in_folder(path: str, content: Any, given: int) -> None:
        written[path] = given
        if path == "/etc/machine-id":
            write(str(machine_id), content, given)

    monkeypatch.setattr(renewal, "text_of", lambda _path: "0" * 32)
    monkeypatch.setattr(renewal, "mode_of", lambda _path, otherwise: stat(str(machine_id), otherwise))
    monkeypatch.setattr(renewal, "write", in_folder)
    monkeypatch.setattr(renewal, "NETWORK_SECRET", str(tmp_path / "none"))
    monkeypatch.setattr(os.path, "isfile", lambda path: path == DBUS)  # a file of its own, as older systems have it
    monkeypatch.setattr(os.path, "islink", lambda _path: False)
    renewal.replace_ids()
    assert written["/etc/machine-id"] == written[DBUS] == mode
    assert machine_id.read_text() != "0" * 32 + "\n"
    assert machine_id.stat().st_mode & 0o777 == mode
    assert renewal.mode_of("/etc/machine-id", 0o400) == mode
    assert stat(str(tmp_path / "none"), 0o444) == 0o444


def test_it_goes_no_further_when_the_new_random_numbers_are_missing(
    renewal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fresh_bytes(_count: int) -> bytes:
        raise RuntimeError("/dev/hwrng has no random numbers")

    monkeypatch.setattr(renewal, "get_ready", lambda: ("virtio1", "carrier", [], ["ssh.service"], []))
    plugs = iter([False, True])
    monkeypatch.setattr(renewal, "is_plugged_in", lambda _carrier: next(plugs))
    monkeypatch.setattr(renewal, "fresh_bytes", fresh_bytes)
    monkeypatch.setattr(renewal, "say", done.append)
    monkeypatch.setattr(renewal, "FOLDER", os.devnull)
    for name in ("run", "cover_boot_id", "replace_ids", "taken_anew"):
        monkeypatch.setattr(renewal, name, lambda *_: pytest.fail("identity before random numbers"))
    assert renewal.main() == 1
    assert done == ["ready", "unplugged", "cannot: /dev/hwrng has no random numbers"]
