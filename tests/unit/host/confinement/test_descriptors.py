"""What a jailed program gets open: only what was meant, and only while it is started."""

import os
import socket
from pathlib import Path

import pytest

from vmkiln.host.confinement import descriptors
from vmkiln.host.confinement.descriptors import MOST_DESCRIPTORS, Descriptor, Kind, with_numbers


def test_names_become_numbers_and_other_at_signs_stay() -> None:
    arguments = ["fd=@disk0@,set=1", "a=@unknown@", "user@host"]
    assert with_numbers(arguments, {"disk0": 7}) == ["fd=7,set=1", "a=@unknown@", "user@host"]


def test_a_file_to_read_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_text("bytes")
    with descriptors.opened([Descriptor("a", Kind.READ, str(file)), Descriptor("b", Kind.WRITE, str(file))]) as numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(numbers["a"], b"x")
        assert os.write(numbers["b"], b"x") == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers["b"])


@pytest.mark.parametrize("kind", [Kind.READ, Kind.WRITE])
@pytest.mark.parametrize("what", ["link", "pipe", "folder", "device", "nothing"])
def test_only_an_ordinary_file_is_opened(tmp_path: Path, kind: Kind, what: str) -> None:
    """And a pipe does not keep anybody waiting."""
    path = tmp_path / "it"
    match what:
        case "link":
            path.symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path = Path("/dev/null")
    with pytest.raises(OSError), descriptors.opened([Descriptor("a", kind, str(path))]):  # noqa: PT011 (any of them)
        pass


def test_a_socket_is_connected(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with descriptors.opened([Descriptor("a", Kind.CONNECT, str(tmp_path / "s"))]) as numbers:
            plug, _ = server.accept()
            os.write(numbers["a"], b"hello")
            assert plug.recv(5) == b"hello"
            plug.close()


def test_too_many_are_refused() -> None:
    many = [Descriptor(f"a{number}", Kind.READ, "/etc/passwd") for number in range(MOST_DESCRIPTORS + 1)]
    with pytest.raises(ValueError, match="at most"), descriptors.opened(many):
        pass


def test_those_opened_before_a_failure_are_closed(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    wanted = [Descriptor("a", Kind.READ, "/etc/passwd"), Descriptor("b", Kind.READ, str(tmp_path / "none"))]
    with pytest.raises(FileNotFoundError), descriptors.opened(wanted):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
