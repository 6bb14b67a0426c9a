"""What the kernel says of a living process: ids, capabilities, namespaces, mounts, limits; read, not judged.

Asked by the supervisor, which alone may look at a process that runs as another id of its user namespace.
Sources: proc(5), namespaces(7).
"""

import contextlib
import os
import stat
from typing import Any

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")
MOST_THREADS = 1024
ID_LINES = {"Uid": "user_ids", "Gid": "group_ids", "Groups": "groups"}
CAPABILITY_LINES = {
    "CapInh": "inheritable",
    "CapPrm": "permitted",
    "CapEff": "effective",
    "CapBnd": "bounding",
    "CapAmb": "ambient",
}


def of(process_id: int, proc: str = "/proc") -> dict[str, Any]:
    """The facts, as JSON has them. Raises: `OSError` when the process has ended, or may not be looked at."""
    folder = f"{proc}/{process_id}"
    threads = os.listdir(f"{folder}/task")[:MOST_THREADS]  # noqa: PTH208 (as everything here: the supervisor is small)
    statuses = [_status(_text(f"{folder}/task/{thread}/status")) for thread in threads]
    return {
        "ids": {name: _numbers(statuses, line) for line, name in ID_LINES.items()},
        "capabilities": {
            name: f"{max(int(status.get(line, 'f'), 16) for status in statuses):x}"
            for line, name in CAPABILITY_LINES.items()
        },
        "no_new_privileges": all(status.get("NoNewPrivs") == "1" for status in statuses),
        "system_call_filter": all(status.get("Seccomp") == "2" for status in statuses),
        "namespaces": namespaces(process_id, proc),
        "mounts": _mounts(_text(f"{folder}/mountinfo")),
        "descriptors": _descriptors(f"{folder}/fd"),
        "limits": _limits(_text(f"{folder}/limits")),
        "environment": sorted({entry.partition("=")[0] for entry in _text(f"{folder}/environ").split("\0") if entry}),
        "control_groups": sorted(line.partition(":")[2] for line in _text(f"{folder}/cgroup").splitlines()),
    }


def inner_ids(facts: dict[str, Any], process_id: int, proc: str = "/proc") -> dict[str, Any]:
    """Facts that were read outside, with the ids as they are inside the user namespace of another process.

    One that is nobody's there is -1. Raises: `OSError` when that process has ended. Source: user_namespaces(7).
    """
    maps = [_text(f"{proc}/{process_id}/{file}") for file in ("uid_map", "gid_map")]
    texts = dict(zip(ID_LINES.values(), (*maps, maps[1]), strict=True))
    return {**facts, "ids": {name: _inside(found, texts[name]) for name, found in facts["ids"].items()}}


def _inside(ids: list[int], text: str) -> list[int]:
    ranges = [[int(word) for word in line.split()] for line in text.splitlines()]
    found = []
    for one in ids:
        inside = (first + one - outside for first, outside, count in ranges if outside <= one < outside + count)
        found.append(next(inside, -1))
    return found


def namespaces(process_id: int | str = "self", proc: str = "/proc") -> dict[str, str]:
    """The namespaces that a process is in, each as the kernel names it, `net:[4026531840]`. Raises: `OSError`."""
    return {name: os.readlink(f"{proc}/{process_id}/ns/{name}") for name in NAMESPACES}  # noqa: PTH115


def _text(path: str) -> str:
    with open(path, errors="surrogateescape") as file:  # noqa: PTH123
        return file.read()


def _status(text: str) -> dict[str, str]:
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in text.splitlines())}


def _numbers(statuses: list[dict[str, str]], line: str) -> list[int]:
    """The numbers of a line, in all threads together."""
    return sorted({int(word) for status in statuses for word in status.get(line, "").split()})


def _mounts(text: str) -> list[dict[str, str]]:
    """Each mount with its path, type and options."""
    found = []
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        found.append({"path": words[4], "kind": rest.split()[0], "options": words[5]})
    return found


def _descriptors(folder: str) -> list[dict[str, Any]]:
    """Each open descriptor: what it leads to, and whether it may be written."""
    found = []
    for number in sorted(os.listdir(folder), key=int):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            facts = os.lstat(f"{folder}/{number}")
            target = os.readlink(f"{folder}/{number}")  # noqa: PTH115
            found.append({"target": target, "writable": bool(facts.st_mode & stat.S_IWUSR)})
    return found


def _limits(text: str) -> dict[str, str]:
    """The hard limits by name, as the kernel writes them."""
    found = {}
    for line in text.splitlines()[1:]:
        found[line[:26].strip()] = line[47:68].strip()
    return found
