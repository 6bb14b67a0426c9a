"""A checkpoint: a build VM saved behind a customizer, for later builds of the same template to go on from.

It lies beside the other saved VMs, under a key of all that came before it. Its record tells whom it serves, behind
which customizer it was made, by which run and when. Of each of a template's positions the newest is kept.

*Leaves behind:* a folder in the cache. *Undone by:* `forget`, `remove_old`, `make_room`. *Safe to repeat:* yes.
"""

import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import saved_vm

KEPT_SECONDS = 7 * 86_400
OF_COMMANDS, OF_TEMPLATES = "command:", "template:"
GROUP = re.compile(r"/subscriptions/[^/]+/resourcegroups/[^/]+")


@dataclass(frozen=True)
class About:
    """What the record of a checkpoint has besides its digests.

    `scope` is whom it serves. `position` is how many customizers came before, the last of them being `step`. `made` is
    when the first of what it has was kept, in seconds since 1970: of one whose build began behind another, that one's.
    `instance_id` is who cloud-init in it believes to be.
    """

    scope: str
    position: int
    step: str
    run_id: str
    template: str
    made: float
    instance_id: str

    @property
    def is_whole(self) -> bool:
        """Whether it is the disk of a whole build, behind the hidden last step: of no VM, so of no instance."""
        return not self.instance_id


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is there, and the bytes that it takes; whether it is whole is seen when it is copied.

    `lent_by` is the template that made it, when a build of another one may begin behind it. `source` is the digest of
    the image that its VM had booted, where that was asked for.
    """

    key: str
    saved: SavedVm
    about: About
    size_bytes: int = 0
    lent_by: str = ""
    source: str = ""

    def age_seconds(self, now: float) -> float:
        """How long ago the first of what it has was kept."""
        return max(0.0, now - self.about.made)


def scope_of(*, template_id: str, resource_group: str, name: str) -> str:
    """Whom a checkpoint serves: the template resource that made it, or the same user's template of this name; pure."""
    if template_id:
        return OF_TEMPLATES + template_id.lower()
    return f"{OF_COMMANDS}{os.getuid()}:{resource_group.lower()}/{name.lower()}"


def owner_of(scope: str) -> str:
    """The id of the template resource of a scope, in small letters; '' for one of a command; pure."""
    return scope.removeprefix(OF_TEMPLATES) if scope.startswith(OF_TEMPLATES) else ""


def group_of(scope: str) -> str:
    """What a scope has in common with those of its resource group: subscription and group, or user and group; pure."""
    if owner := owner_of(scope):
        group, divider, _ = owner.partition("/providers/")
        return OF_TEMPLATES + group if divider and GROUP.fullmatch(group) else ""
    group, divider, _ = scope.partition("/")
    return group if divider and scope.startswith(OF_COMMANDS) else ""


def lender_of(scope: str) -> str:
    """What another template is called by its scope: its id, or its group and name; pure."""
    return owner_of(scope) or scope.removeprefix(OF_COMMANDS).partition(":")[2]


def scopes_beside(folder: Path, scope: str) -> frozenset[str]:
    """The scopes of the same resource group of which something is kept; only records are read."""
    if not (group := group_of(scope)):
        return frozenset()
    found = {one.scope for one in _told(folder)}
    return frozenset(one for one in found if one != scope and group_of(one) == group)


def found(folder: Path, key: str, scope: str, *, most_age_seconds: float, now: float) -> Checkpoint | None:
    """The checkpoint of a key, when it serves this scope and is not too old; its use is noted."""
    if (saved := saved_vm.found(folder, key)) is None or (about := _about(folder / key)) is None:
        return None
    one = Checkpoint(key, saved, about)
    if about.scope != scope or about.made > now + 60 or one.age_seconds(now) > most_age_seconds:
        return None
    return one


def all_of(folder: Path) -> list[Checkpoint]:
    """Every checkpoint that is there, the newest first; no use of them is noted."""
    kept = []
    for record in folder.glob(f"*/{saved_vm.RECORD}"):
        place = record.parent
        if place.name.startswith(".") or (about := _about(place)) is None:
            continue
        with contextlib.suppress(OSError):
            used = place.stat()
            saved = saved_vm.found(folder, place.name)
            os.utime(place, ns=(used.st_atime_ns, used.st_mtime_ns))
            if saved is not None:
                size, source = saved_vm.bytes_of(place), saved_vm.source_of(place)
                kept.append(Checkpoint(place.name, saved, about, size, source=source))
    return sorted(kept, key=lambda one: one.about.made, reverse=True)


def told_of(folder: Path, scope: str) -> list[About]:
    """What is said of the checkpoints of a scope, by their positions; only records are read, and no use is noted."""
    return sorted((one for one in _told(folder) if one.scope == scope), key=lambda one: (one.position, one.step))


def _told(folder: Path) -> Iterator[About]:
    records = (_about(record.parent) for record in folder.glob(f"*/{saved_vm.RECORD}") if record.parent.name[0] != ".")
    return (one for one in records if one is not None)


def record_of(about: About) -> Mapping[str, object]:
    """What a record has of it; pure."""
    return asdict(about)


def replace_others(folder: Path, own: Checkpoint) -> None:
    """Delete the same template's other checkpoints of the same position; its other disks of whole builds, for one.

    Behind how many customizers such a disk is does not tell it from others: a template may get one more, or lose one.
    """

    def place(about: About) -> tuple[str, int]:
        return about.scope, -1 if about.is_whole else about.position

    for one in all_of(folder):
        if place(one.about) == place(own.about) and one.key != own.key:
            saved_vm.discard(one.saved)


def make_room(folder: Path, *, most_bytes: int, keep: str = "") -> None:
    """Delete checkpoints until they take no more than half of the room of all saved VMs; `keep` goes last.

    Of the scope that takes the most goes what was used least lately: so nobody's push out those of others who have
    fewer. One that is alone too large goes too. Then all saved VMs share the room (`saved_vm.make_room`).
    """
    kept = sorted(all_of(folder), key=lambda one: _used(folder / one.key))
    while kept and sum(one.size_bytes for one in kept) > most_bytes // 2:
        gone = _first_to_go(kept, keep)
        saved_vm.discard(gone.saved)
        kept.remove(gone)
    saved_vm.make_room(folder, most_bytes=most_bytes, keep=keep)


def _first_to_go(kept: Sequence[Checkpoint], keep: str) -> Checkpoint:
    """Which of these, that used least lately first, goes before the others; pure."""
    taken = Counter[str]()
    for one in kept:
        taken[one.about.scope] += one.size_bytes
    return max(kept, key=lambda one: (one.key != keep, taken[one.about.scope]))  # of equal ones the first


def forget(folder: Path, scope: str = "") -> list[Checkpoint]:
    """Delete the checkpoints that serve a scope, or all of them; gives those that there were."""
    gone = [one for one in all_of(folder) if scope in {"", one.about.scope}]
    for one in gone:
        saved_vm.discard(one.saved)
    return gone


def remove_old(folder: Path, *, live_templates: Callable[[], frozenset[str]], now: float | None = None) -> None:
    """Delete what is older than a week, and what served a template resource that is gone.

    `live_templates` gives the ids of those that there are, in small letters; it is asked only when it matters.
    """
    now = time.time() if now is None else now
    kept = all_of(folder)
    owned = {one.key: owner for one in kept if (owner := owner_of(one.about.scope))}
    live = live_templates() if owned else frozenset[str]()
    for one in kept:
        is_orphan = one.key in owned and owned[one.key] not in live
        if is_orphan or one.age_seconds(now) > KEPT_SECONDS:
            saved_vm.discard(one.saved)


def _used(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _about(place: Path) -> About | None:
    """Of what is no checkpoint, or has a record that cannot be read, none."""
    try:
        noted = json.loads((place / saved_vm.RECORD).read_text())["about"]
        return About(
            scope=str(noted["scope"]),
            position=int(noted["position"]),
            step=str(noted["step"]),
            run_id=str(noted["run_id"]),
            template=str(noted["template"]),
            made=float(noted["made"]),
            instance_id=str(noted["instance_id"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_data(checkpoints: Sequence[Checkpoint], now: float) -> Iterator[dict[str, object]]:
    """Checkpoints as plain data, for a person or a program; pure."""
    for one in checkpoints:
        yield {
            "key": one.key,
            **{name: value for name, value in asdict(one.about).items() if name not in {"made", "instance_id"}},
            "age_seconds": round(one.age_seconds(now)),
            "size_mib": round(one.size_bytes / saved_vm.MIB),
        }
