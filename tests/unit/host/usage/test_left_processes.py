"""A process that still has a folder in sight is found, though the folder is gone."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.host.usage import left_processes

SHOWN = b"29 1 8:1 %s /run/vmkiln rw,relatime - ext4 /dev/sda1 rw\n"


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """A folder, and a process that has it mounted in a namespace of its own."""
    folder, inside = tmp_path / "a run", tmp_path / "inside"
    folder.mkdir()
    inside.mkdir()
    script = f"mount --bind '{folder}' '{inside}' && echo mounted && exec sleep 60"
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mounted\n"
        try:
            yield folder, process
        finally:
            process.kill()


def test_a_process_is_found_until_its_end(seen: tuple[Path, "subprocess.Popen[str]"]) -> None:
    folder, process = seen
    assert left_processes.seeing(folder) == [process.pid]
    shutil.rmtree(folder, ignore_errors=True)
    assert left_processes.seeing(folder) == [process.pid]
    process.kill()
    process.wait()
    assert left_processes.seeing(folder) == []


@pytest.mark.parametrize(
    ("root", "is_seen"),
    [
        (rb"/home/x/runs/a\040b", True),
        (rb"/x/runs/a\040b//deleted", True),
        (rb"/home/x/runs/a\040b.2", True),
        (rb"/home/x/runs/a\040b/vm.qcow2", True),
        (rb"/home/x/runs/a\040bc", False),
        (rb"/home/y/runs/a\040b", False),
        (rb"/", False),
    ],
)
def test_what_a_mount_shows_is_read_as_the_kernel_writes_it(root: bytes, is_seen: bool, tmp_path: Path) -> None:
    for name, text in (("7", SHOWN % root), ("8", b"odd\n"), ("self", SHOWN % root)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mountinfo").write_bytes(text)
    (tmp_path / "9").mkdir()  # it has ended
    assert left_processes.seeing(Path("/home/x/runs/a b"), processes=tmp_path) == ([7] if is_seen else [])


@pytest.mark.parametrize("is_seen_here", [False, True])
def test_of_our_own_mount_namespace_only_our_own_mounts_are_read(is_seen_here: bool, tmp_path: Path) -> None:
    seen, unseen = SHOWN % b"/home/x/runs/a", SHOWN % b"/"
    for name, namespace, text in (
        ("self", "ours", seen if is_seen_here else unseen),
        ("7", "ours", seen),
        ("8", "x", seen),
    ):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / namespace).touch()
        (tmp_path / name / "ns/mnt").symlink_to(tmp_path / namespace)
        (tmp_path / name / "mountinfo").write_bytes(text)
    found = left_processes.seeing(Path("/home/x/runs/a"), processes=tmp_path)
    assert found == ([7, 8] if is_seen_here else [8]), "7 sees no more than we do, and its mounts would lie"
