"""Who a host is: the same over restarts, another in another state directory."""

import threading
from pathlib import Path

from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.host.host_id import host_id
from vmkiln.settings import Settings


def test_a_host_keeps_its_id_and_another_has_another(tmp_path: Path) -> None:
    first = host_id(Settings(tmp_path / "a"))
    assert host_id(Settings(tmp_path / "a")) == first
    assert host_id(Settings(tmp_path / "b")) != first
    assert (tmp_path / "a" / "host-id").stat().st_mode & 0o777 == 0o600


def test_all_who_ask_at_once_get_the_same_id_and_nothing_else_is_left(tmp_path: Path) -> None:
    found: list[str] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait(10)
        found.append(host_id(Settings(tmp_path)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["host-id"]


def test_a_host_is_told_in_azures_words() -> None:
    found = HostIdentity()
    assert found.architecture in {"x64", "Arm64"}
    assert found.name
