"""What differs between two images: packages, users, units, sockets, disks; and how long each took to boot."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vmkiln.image_contents.contents import ImageContents


@dataclass(frozen=True)
class Difference:
    """What the second of two images has, lacks and has otherwise: by kind, by name; of a change both values.

    Kinds are `system`, `packages` (values are versions), `users` (ids), `units`, `listening` (socket units; values are
    what they listen on), `disks` and `volumes`. `unproven` is what could not be read of either: about that nothing is
    known. `boot_seconds` has both boots, none for one that is not known; no two boots take the same time, so that is no
    difference of the images.
    """

    added: Mapping[str, Mapping[str, Any]]
    removed: Mapping[str, Mapping[str, Any]]
    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]
    unproven: tuple[str, ...] = ()
    boot_seconds: tuple[float | None, float | None] = (None, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs that could be read."""
        return not (self.added or self.removed or self.changed)

    @property
    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """How much differs, in one line."""
        words = {"added": self.added, "removed": self.removed, "changed": self.changed}
        parts = [
            f"{len(names)} {kind.removesuffix('s') if len(names) == 1 else kind} {word}"
            for word, kinds in words.items()
            for kind, names in sorted(kinds.items())
        ]
        return ", ".join(parts) or "nothing differs"

    def lines(self) -> Iterator[str]:
        """Each difference as a line: `+` is only in the second, `-` only in the first, `~` differs."""
        for kind in sorted({*self.added, *self.removed, *self.changed}):
            yield f"{kind}:"
            yield from (f"  - {_told(name, value)}" for name, value in self.removed.get(kind, {}).items())
            yield from (f"  + {_told(name, value)}" for name, value in self.added.get(kind, {}).items())
            yield from (
                f"  ~ {name}: {before} -> {after}" for name, (before, after) in self.changed.get(kind, {}).items()
            )
        if any(seconds is not None for seconds in self.boot_seconds):
            before, after = ("not known" if seconds is None else f"{seconds:.1f} s" for seconds in self.boot_seconds)
            yield f"boot: {before} -> {after}"
        yield from (f"not known: {reason}" for reason in self.unproven)


def difference(first: ImageContents, second: ImageContents) -> Difference:
    """What differs from the first image to the second; pure."""
    before, after = _named(first), _named(second)
    not_known = [contents for contents in (first, second) if contents.listening is None]
    if not_known:
        before["listening"] = after["listening"] = {}
    added, removed, changed = {}, {}, {}
    for kind in before:
        old, new = before[kind], after[kind]
        added[kind] = {name: new[name] for name in sorted(new.keys() - old.keys())}
        removed[kind] = {name: old[name] for name in sorted(old.keys() - new.keys())}
        common = sorted(old.keys() & new.keys())
        changed[kind] = {name: (old[name], new[name]) for name in common if old[name] != new[name]}
    more = ["listening: an image was published before sockets were looked at"] if not_known else []
    unproven = tuple(dict.fromkeys((*first.unproven, *second.unproven, *more)))
    boots = (first.boot_seconds, second.boot_seconds)
    return Difference(_some(added), _some(removed), _some(changed), unproven, boots)


def _named(contents: ImageContents) -> dict[str, Mapping[str, Any]]:
    """Each kind by name; a package that is there in two versions is told with both."""
    versions: dict[str, list[str]] = {}
    for package in contents.packages:
        versions.setdefault(package.key, []).append(package.version)
    return {
        "system": contents.system,
        "packages": {name: ", ".join(found) for name, found in versions.items()},
        "users": contents.users,
        "units": dict.fromkeys(contents.units, ""),
        "listening": contents.listening or {},
        "disks": {str(disk["serial"]): f"{disk['size'] >> 20} MiB, {disk['table']}" for disk in contents.disks},
        "volumes": {
            str(volume["device"]): f"{volume['fileSystem']}, {volume['size'] >> 20} MiB" for volume in contents.volumes
        },
    }


def _some(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {kind: names for kind, names in kinds.items() if names}


def _told(name: str, value: object) -> str:
    return f"{name} {value}" if value not in {"", None} else name
