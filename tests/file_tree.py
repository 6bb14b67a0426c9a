"""The files of an image as a tree, read by e2fsprogs, unmounted: of each its mode, owner, size, content, attributes.

And what lies beside the files: the partition table.
"""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

SECTOR_BYTES = 512
FOLDER = "04"  # how the mode of a folder begins, in octal digits


class Entry(NamedTuple):
    """What is at a path: its mode in octal digits with the kind, its owner's and group's numbers, its size in bytes.

    `content` is the SHA-256 of a file, or where a symbolic link leads. A folder has no size. `attributes` are the
    extended ones, as debugfs tells them: rights of programs, access lists.
    """

    mode: str
    owner: str
    group: str
    size: int
    content: str
    attributes: tuple[str, ...] = ()


def root_file_system(image: Path, raw: Path) -> str:
    """The largest partition of a qcow2 image, as e2fsprogs take it; `raw` is the file that it comes to lie in."""
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
    table = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True).stdout
    root = max(json.loads(table)["partitiontable"]["partitions"], key=lambda partition: int(partition["size"]))
    return f"{raw}?offset={root['start'] * SECTOR_BYTES}"


def partition_table(image: Path, raw: Path) -> dict[str, Any]:
    """The partition table of a qcow2 image, with the identities in it and where each partition lies."""
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
    said = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True).stdout
    raw.unlink()
    table: dict[str, Any] = json.loads(said)["partitiontable"]
    del table["device"]
    for partition in table["partitions"]:
        partition["node"] = partition["node"].removeprefix(str(raw))
    return table


def content_of(file_system: str, path: str) -> bytes:
    """What a file of an ext4 has in it; nothing when it is missing."""
    return subprocess.run(["debugfs", "-R", f"cat {path}", file_system], check=True, capture_output=True).stdout


def file_tree(image: Path, folder: Path) -> dict[str, Entry]:
    """What is in the largest partition of a qcow2 image, which is an ext4; works in an empty folder."""
    raw, files, asked = folder / "raw", folder / "files", folder / "asked"
    file_system = root_file_system(image, raw)
    files.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {files}", file_system], check=True, capture_output=True)
    raw_folders = [path for path in files.rglob("*") if path.is_dir() and not path.is_symlink()]
    names = ["", *(str(path.relative_to(files)) for path in raw_folders)]
    asked.write_text("".join(f'ls -p "/{name}"\n' for name in names))
    said = subprocess.run(["debugfs", "-f", asked, file_system], check=True, capture_output=True, text=True).stdout
    found: dict[str, Entry] = {}
    inodes: dict[str, str] = {}
    here = ""
    for line in said.splitlines():
        if line.startswith("debugfs: "):
            here = line.partition('"')[2].rstrip('"').rstrip("/")
        elif line.startswith("/"):
            _, inode, mode, owner, group, name, size, _ = line.split("/")
            if inode != "0" and name not in {".", ".."}:
                path = f"{here}/{name}"
                size_bytes = 0 if mode.startswith(FOLDER) else int(size or 0)
                found[path] = Entry(mode, owner, group, size_bytes, _content(files / path.lstrip("/")))
                inodes[path] = inode
    attributes = _attributes(file_system, sorted(set(inodes.values())), asked)
    raw.unlink()
    return {path: entry._replace(attributes=attributes.get(inodes[path], ())) for path, entry in found.items()}


def _attributes(file_system: str, inodes: list[str], asked: Path) -> dict[str, tuple[str, ...]]:
    """The extended attributes of inodes that have some, each with its value."""
    asked.write_text("".join(f"ea_list <{inode}>\n" for inode in inodes))
    said = subprocess.run(["debugfs", "-f", asked, file_system], check=True, capture_output=True).stdout
    found: dict[str, list[str]] = {}
    inode = ""
    for line in said.decode(errors="backslashreplace").splitlines():
        if line.startswith("debugfs: "):
            inode = line.partition("<")[2].rstrip(">")
        elif line.startswith("  "):
            found.setdefault(inode, []).append(line.strip())
    return {number: tuple(sorted(lines)) for number, lines in found.items()}


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if not path.is_file():
        return ""
    path.chmod(0o600)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
