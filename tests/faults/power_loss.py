"""What a disk may hold after the power failed: built from the calls that a process made, and what it had synced.

Of a file, what was written since its last fsync may be there, not be there, or be there in part; of a folder, each name
that was made, moved or taken away since its last fsync may be as it was before or as after. A move is one step.
SQLite's shared memory (`-shm`) is made anew by whoever comes first, so it is left out.
Source: fsync(2), rename(2); "All File Systems Are Not Created Equal" (OSDI 2014), on what may be reordered.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CALLS = ("close", "lseek", "pwritev")  # beside those that change something: where writes go, and what is not foreseen
SHARED_MEMORY = "-shm"
_LINE = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(?:<.*>)?", re.MULTILINE)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_COPY = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>, \[(\d+)\], \d+<((?:\\x[0-9a-f]{2})*)>, \[(\d+)\], ")
_DESCRIPTOR = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")

Tree = Mapping[str, "Tree | bytes"]


@dataclass(frozen=True)
class Operation:
    """One change: `make`, `folder`, `write`, `cut`, `link`, `move`, `remove`, `sync`, or `done` for the work's end.

    A `copy` has `size` bytes of `other`, from `at` on; it becomes a `write` when its content is known.
    """

    kind: str
    path: str = ""
    other: str = ""
    position: int = 0
    content: bytes = b""
    at: int = 0
    size: int = 0


def operations_in(trace: str, *, done_mark: str) -> list[Operation]:
    """The operations in what `strace -y -xx` wrote down. Raises: `ValueError` for a call that is not foreseen."""
    found: list[Operation] = []
    positions: dict[int, int] = {}
    written = _Written()
    for name, given, returned in _LINE.findall(trace):
        result = int(returned)
        if name == done_mark:
            found.append(Operation("done"))
        elif result >= 0:
            operation = _operation(name, given, result, positions)
            if operation is not None and not operation.path.endswith(SHARED_MEMORY):
                found.append(written.known(operation))
    return found


def _named(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode()


class _Written:
    """What files hold so far, so that it is known what a copy of one holds; the others are on disk as at first."""

    def __init__(self) -> None:
        self._files: dict[str, bytearray] = {}

    def known(self, operation: Operation) -> Operation:
        """The operation, a copy as the writing that it is."""
        if operation.kind == "copy":
            content = bytes(self._file(operation.other))
            content = content.ljust(operation.at + operation.size, b"\0")[operation.at :][: operation.size]
            operation = Operation("write", operation.path, position=operation.position, content=content)
        self._note(operation)
        return operation

    def _file(self, path: str) -> bytearray:
        if path not in self._files:
            first = Path(path)
            self._files[path] = bytearray(first.read_bytes() if first.is_file() else b"")
        return self._files[path]

    def _note(self, operation: Operation) -> None:
        path, position = operation.path, operation.position
        match operation.kind:
            case "cut":
                file = self._file(path)
                del file[position:]
                file.extend(bytes(position - len(file)))
            case "write":
                file, content = self._file(path), operation.content
                file.extend(bytes(max(0, position - len(file))))
                file[position : position + len(content)] = content
            case "move" | "link" if not Path(path).is_dir():
                self._files[operation.other] = self._file(path)


def _operation(  # noqa: PLR0912 (one branch for each call)
    name: str, given: str, result: int, positions: dict[int, int]
) -> Operation | None:
    texts = [(bytes.fromhex(text.replace("\\x", "")), cut) for text, cut in _TEXT.findall(given)]
    opened = _DESCRIPTOR.match(given)
    number = int(opened[1]) if opened else -1
    path = bytes.fromhex(opened[2].replace("\\x", "")).decode() if opened else texts[0][0].decode() if texts else ""
    match name:
        case "openat":
            positions[result] = 0
            path = texts[-1][0].decode()
            if "O_TRUNC" in given:
                return Operation("cut", path)
            return Operation("make", path) if "O_CREAT" in given else None
        case "lseek":
            positions[number] = result
        case "write" | "pwrite64":
            content, is_cut = texts[-1]
            if is_cut or len(content) < result:
                raise ValueError(f"not all of what was written is known: {given[-80:]}")
            position = int(given.rpartition(",")[2]) if name == "pwrite64" else positions.get(number, 0)
            if name == "write":
                positions[number] = position + result
            return Operation("write", path, position=position, content=content[:result])
        case "copy_file_range":
            copied = _COPY.match(given)
            if copied is None:
                raise ValueError(f"it is not known what was copied where: {given[-80:]}")
            source, at, target, to = (copied[number] for number in range(1, 5))
            return Operation("copy", _named(target), _named(source), int(to), at=int(at), size=result)
        case "ftruncate":
            return Operation("cut", path, position=int(given.rpartition(",")[2]))
        case "fsync" | "fdatasync":
            return Operation("sync", path)
        case "mkdir":
            return Operation("folder", path)
        case "link" | "rename":
            return Operation("link" if name == "link" else "move", path, texts[1][0].decode())
        case "unlink" | "rmdir":
            return Operation("remove", path)
        case "unlinkat":
            return Operation("remove", f"{path}/{texts[-1][0].decode()}")
        case "close" | "chmod" | "fchmod":
            return None
        case _:
            raise ValueError(f"{name} is not foreseen")
    return None


@dataclass
class _File:
    kept: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # at a position: bytes, or none for an end

    def content(self, choice: "Choice") -> bytes:
        found = bytearray(self.kept)
        for position, piece in choice.pieces(self.pending):
            if piece is None:
                del found[position:]
                found.extend(bytes(max(0, position - len(found))))
            else:
                found.extend(bytes(max(0, position - len(found))))
                found[position : position + len(piece)] = piece
        return bytes(found)


@dataclass
class _Folder:
    kept: "dict[str, _File | _Folder]" = field(default_factory=dict)
    now: "dict[str, _File | _Folder]" = field(default_factory=dict)
    pending: "list[tuple[int, str, _File | _Folder | None]]" = field(default_factory=list)  # which step, name, what

    def names(self, choice: "Choice") -> "dict[str, _File | _Folder]":
        found = dict(self.kept)
        for step, name, what in self.pending:
            if choice.has_step(step):
                if what is None:
                    found.pop(name, None)
                else:
                    found[name] = what
        return found


class Choice:
    """Which of what is pending made it to the disk."""

    def __init__(self, *, names: Callable[[], bool], data: Callable[[], float]) -> None:
        self._names, self._data = names, data
        self._steps: dict[int, bool] = {}

    def has_step(self, step: int) -> bool:
        """Whether a name was made, moved or taken away; the two ends of a move are one step."""
        return self._steps.setdefault(step, self._names())

    def pieces(self, pending: list[tuple[int, bytes | None]]) -> Iterable[tuple[int, bytes | None]]:
        """What was written, up to some point, and the last of it in part."""
        share = self._data()
        whole, part = divmod(share * len(pending), 1)
        yield from pending[: int(whole)]
        if part and int(whole) < len(pending):
            position, piece = pending[int(whole)]
            if piece is not None:
                yield position, piece[: int(len(piece) * part)]


def choices(seed: int) -> list[Choice]:
    """All or nothing of names and of data, torn writes, and some by chance."""
    chance = random.Random(seed)  # noqa: S311 (no secret)
    some = chance.random
    return [
        Choice(names=lambda: False, data=lambda: 0.0),
        Choice(names=lambda: True, data=lambda: 0.0),
        Choice(names=lambda: False, data=lambda: 1.0),
        Choice(names=lambda: True, data=lambda: 1.0),
        Choice(names=lambda: True, data=lambda: 0.5),
        *(Choice(names=lambda: some() < 0.5, data=lambda: chance.choice([0.0, 1.0, some()])) for _ in range(3)),
    ]


class Disk:
    """A folder's tree as it is now, as it is on disk for sure, and what is between the two."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._step = 0
        self._inodes: dict[int, _File] = {}
        self._top = self._read(root)

    def _read(self, folder: Path) -> _Folder:
        found = _Folder()
        for path in folder.iterdir():
            if path.is_dir():
                found.kept[path.name] = self._read(path)
            elif not path.name.endswith(SHARED_MEMORY):
                found.kept[path.name] = self._inodes.setdefault(path.stat().st_ino, _File(path.read_bytes()))
        found.now = dict(found.kept)
        return found

    def _at(self, path: str) -> tuple[_Folder, str]:
        folder = self._top
        *parents, name = Path(path).relative_to(self._root).parts
        for parent in parents:
            below = folder.now[parent]
            assert isinstance(below, _Folder), path
            folder = below
        return folder, name

    def has(self, path: str) -> bool:
        """Whether a path is in the tree that is looked at."""
        return bool(path) and Path(path) != self._root and Path(path).is_relative_to(self._root)

    def apply(self, operation: Operation) -> None:
        """One more operation was done; those elsewhere are not looked at."""
        if operation.kind == "sync" and operation.path == str(self._root):
            self._sync(self._top)
        if not self.has(operation.path):
            return
        self._step += 1
        folder, name = self._at(operation.path)
        there = folder.now.get(name)
        match operation.kind:
            case "make":
                if there is None:
                    self._set(folder, name, _File())
            case "folder":
                self._set(folder, name, _Folder())
            case "cut" | "write":
                if there is None:
                    there = _File()
                    self._set(folder, name, there)
                assert isinstance(there, _File), operation
                piece = operation.content if operation.kind == "write" else None
                there.pending.append((operation.position, piece))
            case "remove":
                self._set(folder, name, None)
            case "link" | "move":
                assert there is not None, operation
                target, new_name = self._at(operation.other)
                if operation.kind == "move":
                    self._set(folder, name, None)
                self._set(target, new_name, there)
            case "sync":
                assert there is not None, operation
                self._sync(there)

    def _set(self, folder: _Folder, name: str, what: _File | _Folder | None) -> None:
        folder.pending.append((self._step, name, what))
        if what is None:
            folder.now.pop(name)
        else:
            folder.now[name] = what

    def _sync(self, what: _File | _Folder) -> None:
        everything = Choice(names=lambda: True, data=lambda: 1.0)
        if isinstance(what, _File):
            what.kept = what.content(everything)
        else:
            what.kept = what.names(everything)
        what.pending.clear()

    def after_power_loss(self, choice: Choice) -> Tree:
        """One of the trees that may be found."""

        def tree(folder: _Folder) -> Tree:
            return {
                name: what.content(choice) if isinstance(what, _File) else tree(what)
                for name, what in sorted(folder.names(choice).items())
            }

        return tree(self._top)


def fingerprint(tree: Tree) -> str:
    """What tells one tree from another."""
    total = hashlib.sha256()
    for name, what in tree.items():
        inner = hashlib.sha256(what).hexdigest() if isinstance(what, bytes) else fingerprint(what)
        total.update(f"{name}\0{isinstance(what, bytes)}{inner}\n".encode())
    return total.hexdigest()


def write_tree(tree: Tree, folder: Path) -> None:
    """Make a tree in an empty folder."""
    for name, what in tree.items():
        path = folder / name
        if isinstance(what, bytes):
            path.write_bytes(what)
            path.chmod(0o600)
        else:
            path.mkdir(mode=0o700)
            write_tree(what, path)
