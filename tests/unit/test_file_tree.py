"""What the tests read of an image is what is there: an attribute or a partition that is another is seen."""

import subprocess
from pathlib import Path

import pytest
from file_tree import Entry, file_tree, partition_table

SECTORS = 16 * 2048  # of the only partition, which begins at 1 MiB
LABEL = "label: dos\nlabel-id: 0x0badcafe\nstart=2048, size={size}, type=83\n"


def an_image(folder: Path, *, attribute: str = "", size: int = SECTORS) -> Path:
    """A qcow2 with one ext4, in which there are two files, one perhaps with an extended attribute."""
    folder.mkdir()
    files, raw, image, part = folder / "in", folder / "made", folder / "image.qcow2", folder / "part"
    (files / "opt").mkdir(parents=True)
    for name in ("a file", "another"):
        (files / "opt" / name).write_text(name)
    with part.open("wb") as file:
        file.truncate(SECTORS * 512)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", files, part], check=True)
    if attribute:
        asked = f'ea_set "/opt/a file" user.made "{attribute}"'
        subprocess.run(["debugfs", "-w", "-R", asked, part], check=True, capture_output=True)
    with raw.open("wb") as file:
        file.seek(2048 * 512)
        file.write(part.read_bytes())
        file.truncate((2048 + SECTORS + 2048) * 512)
    subprocess.run(["sfdisk", "-q", raw], input=LABEL.format(size=size), text=True, check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    return image


def tree_of(image: Path, folder: Path) -> dict[str, Entry]:
    folder.mkdir()
    return file_tree(image, folder)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return an_image(tmp_path / "plain")


def test_a_tree_has_the_extended_attributes_of_each_file(plain: Path, tmp_path: Path) -> None:
    marked = tree_of(an_image(tmp_path / "marked", attribute="one"), tmp_path / "tree-1")
    assert marked["/opt/a file"].attributes == ('user.made (3) = "one"',)
    assert marked["/opt/another"].attributes == ()
    other = tree_of(an_image(tmp_path / "other", attribute="two"), tmp_path / "tree-2")
    without = tree_of(plain, tmp_path / "tree-3")
    for tree in (other, without):
        assert [path for path in marked if path.startswith("/opt/") and marked[path] != tree[path]] == ["/opt/a file"]


def test_a_partition_table_has_its_partitions_and_not_its_files_place(plain: Path, tmp_path: Path) -> None:
    table = partition_table(plain, tmp_path / "raw")
    assert table["id"] == "0x0badcafe"
    assert table["partitions"] == [{"node": "1", "start": 2048, "size": SECTORS, "type": "83"}]
    again = partition_table(an_image(tmp_path / "again"), tmp_path / "elsewhere")
    assert again == table
    assert partition_table(an_image(tmp_path / "shorter", size=SECTORS // 2), tmp_path / "raw") != table
