"""Whether a process of a run is held as it was meant to be: each fact, and whether it holds; pure.

A fact that is required and does not hold ends the run before the guest's first instruction. One that only some hosts
can have, as a control group of the run's own, is told and does not end it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from vmkiln.host.confinement import egress_jail
from vmkiln.host.confinement.descriptors import Descriptor, Kind
from vmkiln.host.confinement.egress_jail import EgressJail
from vmkiln.host.confinement.jail import Jail
from vmkiln.host.confinement.landlock import NETWORK_SINCE

NOT_FILES = ("socket:", "anon_inode:", "pipe:", "/dev/null", "/dev/net/tun", "/memfd:")
LIMITS = {
    "RLIMIT_AS": "Max address space",
    "RLIMIT_NPROC": "Max processes",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_MEMLOCK": "Max locked memory",
    "RLIMIT_FSIZE": "Max file size",
}
NAMESPACES_OF_THE_RUN = ("user", "pid")
NAMESPACES_OF_THE_VM = ("mnt", "net", "ipc", "uts")
NAMESPACES_OF_THE_EGRESS = ("mnt", "ipc", "uts")
ROOT_ITSELF = "/"  # what was open when its mount went has this name: the tap, and the run's network


class Fact(TypedDict):
    """One fact about a process: the expected and the found value, whether they agree, and whether a run needs that."""

    name: str
    expected: str
    found: str
    holds: bool
    required: bool


OnConfinement = Callable[[str, list[Fact]], Awaitable[None]]


@dataclass(frozen=True)
class Surroundings:
    """What a process is compared with: the namespaces of this host, those of the run's supervisor, the run's group.

    `control_group` is its name; '' where the run has none. `landlock` is the version that the kernel has of it; 0 for
    none.
    """

    host: Mapping[str, str]
    supervisor: Mapping[str, str]
    control_group: str = ""
    landlock: int = 0


@dataclass(frozen=True)
class Confinement:
    """What is to hold one process: its jail, what it gets open, and its whole environment.

    The process is started by it and judged by it, so that the two can never differ.
    """

    jail: Jail
    descriptors: tuple[Descriptor, ...]
    environment: Mapping[str, str]

    def described(self) -> dict[str, Any]:
        """All of it as the supervisor is told."""
        return {
            "jail": self.jail.described(),
            "descriptors": [descriptor.described() for descriptor in self.descriptors],
            "environment": dict(self.environment),
        }


def judged(facts: Mapping[str, Any], meant: Confinement, around: Surroundings) -> list[Fact]:
    """Every fact of a process, as `process_facts.of` gives them, held against what is meant to hold it."""
    return [
        *_identity(facts, meant.jail),
        *_privileges(facts),
        *_namespaces(facts, around, shares_network=meant.jail.shares_network),
        *_root(facts, meant.jail),
        *_reach(facts, meant),
        *_limits(facts, meant.jail.limits),
        _control_group(facts, around.control_group),
        _landlock(around.landlock, since=1),
    ]


def judged_egress(facts: Mapping[str, Any], meant: EgressJail, around: Surroundings) -> list[Fact]:
    """Every fact of the process that carries what a run sends out, held against its jail.

    The ids of `facts` are those outside, as `inner_ids` turns them.
    """
    ids, own = facts["ids"], facts["namespaces"]
    is_runs = own["user"] == around.supervisor["user"] != around.host["user"]
    return [
        _fact("user id, of this run's way out alone", [meant.id], ids["user_ids"]),
        _fact("group id, of this run's way out alone", [meant.id], ids["group_ids"]),
        _fact("other groups", [], ids["groups"]),
        *(
            _capabilities(name, facts["capabilities"][name], most)
            for name, most in {
                "inheritable": (),
                "permitted": egress_jail.KEPT,
                "effective": egress_jail.KEPT,
                "bounding": egress_jail.GIVEN,
                "ambient": (),
            }.items()
        ),
        _fact("no new privileges", True, facts["no_new_privileges"]),
        _fact("system call filter on every thread", True, facts["system_call_filter"]),
        _fact("user namespace", "the run's own", own["user"], holds=is_runs),
        *(
            _fact(
                f"{name} namespace",
                "its own",
                own[name],
                holds=own[name] not in {around.host[name], around.supervisor[name]},
            )
            for name in NAMESPACES_OF_THE_EGRESS
        ),
        _fact("net namespace", "the host's, to send", own["net"], holds=own["net"] == around.host["net"]),
        *_empty_root(facts["mounts"]),
        _fact(
            "open files",
            [],
            sorted(
                {
                    entry["target"]
                    for entry in facts["descriptors"]
                    if entry["target"] != ROOT_ITSELF and not entry["target"].startswith(NOT_FILES)
                }
            ),
        ),
        _fact("environment", sorted(egress_jail.ENVIRONMENT), facts["environment"]),
        *_limits(facts, egress_jail.LIMITS),
        _control_group(facts, around.control_group),
        _landlock(around.landlock, since=NETWORK_SINCE),
    ]


def failed(facts: Sequence[Fact]) -> list[Fact]:
    """Those that are required and do not hold."""
    return [fact for fact in facts if fact["required"] and not fact["holds"]]


def _fact(name: str, expected: object, found: object, *, required: bool = True, holds: bool | None = None) -> Fact:
    is_so = expected == found if holds is None else holds
    return Fact(name=name, expected=_text(expected), found=_text(found), holds=is_so, required=required)


def _text(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def _identity(facts: Mapping[str, Any], jail: Jail) -> list[Fact]:
    ids = facts["ids"]
    return [
        _fact("user id, of this VM alone", [jail.id], ids["user_ids"]),
        _fact("group id, of this VM alone", [jail.id], ids["group_ids"]),
        _fact("other groups", [], ids["groups"]),
    ]


def _privileges(facts: Mapping[str, Any]) -> list[Fact]:
    return [
        *(_fact(f"{name} capabilities", "0", value) for name, value in facts["capabilities"].items()),
        _fact("no new privileges", True, facts["no_new_privileges"]),
        _fact("system call filter on every thread", True, facts["system_call_filter"]),
    ]


def _namespaces(facts: Mapping[str, Any], around: Surroundings, *, shares_network: bool) -> list[Fact]:
    own = facts["namespaces"]
    found = []
    of_the_run = (*NAMESPACES_OF_THE_RUN, *(("net",) if shares_network else ()))
    for name in of_the_run:
        holds = own[name] == around.supervisor[name] != around.host[name]
        found.append(_fact(f"{name} namespace", "the run's own", own[name], holds=holds))
    for name in (name for name in NAMESPACES_OF_THE_VM if name not in of_the_run):
        holds = own[name] not in {around.host[name], around.supervisor[name]}
        found.append(_fact(f"{name} namespace", "the VM's own", own[name], holds=holds))
    return found


def _root(facts: Mapping[str, Any], jail: Jail) -> list[Fact]:
    mounts = {mount["path"]: mount for mount in facts["mounts"]}
    memory = () if jail.memory is None else (jail.memory.path,)
    meant = {*jail.devices, *memory}
    writable = sorted(
        path for path, mount in mounts.items() if path not in meant and "ro" not in mount["options"].split(",")
    )
    expected = {"/", *jail.files, *jail.devices, *memory}
    return [
        _fact("root", "tmpfs", mounts.get("/", {}).get("kind", "none")),
        _fact("mounts beside what it was given", [], sorted(set(mounts) - expected)),
        _fact("mounts that it may write", [], writable),
        _fact(
            "mounts with set-user-id programs",
            [],
            sorted(path for path, mount in mounts.items() if "nosuid" not in mount["options"].split(",")),
        ),
    ]


def _reach(facts: Mapping[str, Any], meant: Confinement) -> list[Fact]:
    """The descriptors. Memory of its own is a file of the jail; what that is a copy of it may not have open."""
    memory = set() if meant.jail.memory is None else {meant.jail.memory.path}
    given = {one.target for one in meant.descriptors if one.kind in (Kind.READ, Kind.WRITE)} | memory
    writable = {one.target for one in meant.descriptors if one.kind is Kind.WRITE} | memory
    opened = [entry for entry in facts["descriptors"] if not entry["target"].startswith(NOT_FILES)]
    inside = [entry for entry in opened if entry["target"] not in given]
    return [
        _fact("open files beside its disks", [], sorted({entry["target"] for entry in inside})),
        _fact(
            "files open for writing beside its own disk",
            [],
            sorted({entry["target"] for entry in opened if entry["writable"]} - writable),
        ),
        _fact("environment", sorted(meant.environment), facts["environment"]),
    ]


def _control_group(facts: Mapping[str, Any], name: str) -> Fact:
    """Only some hosts have one; who has it is held to it."""
    expected = "the run's own"
    if not name:
        return _fact("control group", expected, "none was delegated to us", required=False, holds=False)
    found = facts["control_groups"]
    return _fact("control group", expected, found, holds=any(path.endswith(f"/{name}") for path in found))


def _landlock(version: int, *, since: int) -> Fact:
    """The kernel does not tell it of a process: where it has it, a jail begins with it, or its program does not."""
    expected, found = "entered before its program began", f"interface {version}" if version else "this kernel has none"
    return _fact("Landlock", expected, found, required=version >= since, holds=version >= since)


def _limits(facts: Mapping[str, Any], limits: Mapping[str, int]) -> list[Fact]:
    return [
        _fact(f"limit: {LIMITS[name].removeprefix('Max ')}", str(limit), facts["limits"].get(LIMITS[name], "none"))
        for name, limit in limits.items()
    ]


def _capabilities(name: str, found: str, most: Collection[int]) -> Fact:
    """A set of capabilities, in hexadecimal, that may have no more than these."""
    bits = sum(1 << capability for capability in most)
    return _fact(f"{name} capabilities", f"at most {bits:x}", found, holds=not int(found, 16) & ~bits)


def _empty_root(mounts: Sequence[Mapping[str, str]]) -> list[Fact]:
    """Nothing is mounted but a root in memory that cannot be written and has no programs."""
    kinds = [f"{mount['path']} ({mount['kind']})" for mount in mounts]
    options = [set(mount["options"].split(",")) for mount in mounts]
    wanted = {"ro", "nosuid", "nodev", "noexec"}
    return [
        _fact("mounts", [f"{ROOT_ITSELF} (tmpfs)"], kinds),
        _fact("root", ", ".join(sorted(wanted)), kinds, holds=all(wanted <= found for found in options)),
    ]
