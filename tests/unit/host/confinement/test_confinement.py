"""Each fact of a VM's process: it holds as it should be, and is named when it does not."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmkiln.host.confinement import egress_jail, process_facts, vm_jail
from vmkiln.host.confinement.confinement import Fact, Surroundings, failed, judged, judged_egress
from vmkiln.host.confinement.egress_jail import EgressJail
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.qemu import Accelerator, DirectKernel, Disk, Machine, SavedVm

FILES = ProgramFiles("/usr/bin/qemu", ("/usr/bin/qemu", "/lib/libc.so.6"))
MACHINE = Machine(
    "vm",
    Accelerator.TCG,
    1,
    64,
    (Disk(Path("/run/a.qcow2"), "qcow2", backing=Disk(Path("/cache/b.qcow2"), "qcow2")),),
    "tap",
    "02:00:00:00:00:01",
    Path("/run/vmkiln/console"),
    Path("/run/vmkiln/qmp"),
    DirectKernel(Path("/cache/k"), Path("/cache/i"), "quiet"),
)
MEANT = vm_jail.confinement_of(MACHINE, FILES, own_id=40000)
JAIL = MEANT.jail
HOST = {name: f"{name}:[1]" for name in ("user", "mnt", "pid", "net", "ipc", "uts")}
SUPERVISOR = {name: f"{name}:[2]" for name in HOST}
OWN = {**SUPERVISOR, "mnt": "mnt:[3]", "net": "net:[3]", "ipc": "ipc:[3]", "uts": "uts:[3]"}
READ_ONLY = "ro,nosuid,nodev"


def held() -> dict[str, Any]:
    """A process as it should be."""
    return {
        "ids": {"user_ids": [40000], "group_ids": [40000], "groups": []},
        "capabilities": dict.fromkeys(("inheritable", "permitted", "effective", "bounding", "ambient"), "0"),
        "no_new_privileges": True,
        "system_call_filter": True,
        "namespaces": dict(OWN),
        "mounts": [
            {"path": "/", "kind": "tmpfs", "options": READ_ONLY},
            *({"path": path, "kind": "ext4", "options": READ_ONLY} for path in FILES.files),
            *({"path": path, "kind": "devtmpfs", "options": "rw,nosuid,noexec"} for path in vm_jail.DEVICES),
        ],
        "descriptors": [
            {"target": "/dev/null", "writable": True},
            {"target": "socket:[9]", "writable": True},
            {"target": "/dev/net/tun", "writable": True},
            {"target": "/run/a.qcow2", "writable": True},
            {"target": "/cache/b.qcow2", "writable": False},
        ],
        "limits": {
            "Max address space": str(JAIL.limits["RLIMIT_AS"]),
            "Max processes": "256",
            "Max open files": "256",
            "Max core file size": "0",
            "Max locked memory": "0",
            "Max file size": str(JAIL.limits["RLIMIT_FSIZE"]),
        },
        "environment": ["PATH"],
        "control_groups": [":/"],
    }


def names_of_failed(facts: dict[str, Any]) -> list[str]:
    found = judged(facts, MEANT, Surroundings(HOST, SUPERVISOR))
    assert len(found) >= 15
    return [fact["name"] for fact in failed(found)]


def test_a_process_that_is_held_as_it_should_be_passes() -> None:
    assert names_of_failed(held()) == []


@pytest.mark.parametrize(
    ("member", "value", "named"),
    [
        (("ids", "user_ids"), [0], "user id"),
        (("ids", "user_ids"), [0, 40000], "user id"),
        (("ids", "group_ids"), [1000], "group id"),
        (("ids", "groups"), [27], "other groups"),
        *((("capabilities", name), "1", f"{name} capabilities") for name in held()["capabilities"]),
        (("no_new_privileges",), False, "no new privileges"),
        (("system_call_filter",), False, "system call filter"),
        *((("namespaces", name), HOST[name], f"{name} namespace") for name in HOST),
        *((("namespaces", name), SUPERVISOR[name], f"{name} namespace") for name in ("mnt", "net", "ipc", "uts")),
        (("mounts", 0, "kind"), "ext4", "root"),
        (("mounts", 0, "options"), "rw,nosuid", "mounts that it may write"),
        (("mounts", 1, "options"), "ro,nodev", "set-user-id"),
        (("mounts", 1, "path"), "/home", "mounts beside"),
        (("descriptors", 0, "target"), "/home/a/.ssh/id_rsa", "open files"),
        (("descriptors", 4, "writable"), True, "open for writing"),
        (("environment",), ["AWS_SECRET_ACCESS_KEY", "PATH"], "environment"),
        *((("limits", name), "unlimited", "limit") for name in held()["limits"]),
    ],
)
def test_whatever_does_not_hold_is_named(member: tuple[Any, ...], value: object, named: str) -> None:
    facts = copy.deepcopy(held())
    place = facts
    for step in member[:-1]:
        place = place[step]
    place[member[-1]] = value
    assert any(named in name for name in names_of_failed(facts))


def test_a_run_with_a_control_group_is_held_to_it_and_one_without_is_told_so() -> None:
    def of_group(group: str, name: str) -> Fact:
        facts = {**held(), "control_groups": [f"pids:/a.service/{group}"]}
        found = judged(facts, MEANT, Surroundings(HOST, SUPERVISOR, name))
        return next(fact for fact in found if fact["name"] == "control group")

    assert of_group("vmkiln-run-r", "vmkiln-run-r")["holds"]
    assert failed([of_group("vmkiln-run-s", "vmkiln-run-r")]), "another run's"
    without = of_group("", "")
    assert (without["holds"], failed([without])) == (False, [])


@pytest.mark.parametrize(("version", "holds", "found"), [(0, False, "this kernel has none"), (4, True, "interface 4")])
def test_landlock_is_told_of_a_host_that_has_it_and_of_one_that_has_not(version: int, holds: bool, found: str) -> None:
    around = Surroundings(HOST, SUPERVISOR, landlock=version)
    jail = EgressJail(40000, "/proc/1/ns/user", "/proc/1/ns/net", ("/usr/bin/pasta",))
    for facts in (judged(held(), MEANT, around), judged_egress(held_egress(), jail, around)):
        [told] = [fact for fact in facts if fact["name"] == "Landlock"]
        assert (told["holds"], told["found"], told["required"]) == (holds, found, holds)
        assert failed(facts) == []


def test_memory_of_its_own_may_be_written_and_its_source_not_be_open() -> None:
    saved = SavedVm(Path("/cache/memory"), "m", Path("/cache/devices"), "d")
    meant = vm_jail.confinement_of(replace(MACHINE, saved=saved), FILES, own_id=40000)
    facts = held()
    facts["mounts"].append({"path": "/memory", "kind": "tmpfs", "options": "rw,nosuid,nodev,noexec"})
    facts["descriptors"].append({"target": "/memory", "writable": True})

    def wrong(opened: str) -> list[str]:
        more = [*facts["descriptors"], {"target": opened, "writable": False}]
        around = Surroundings(HOST, SUPERVISOR)
        return [fact["name"] for fact in failed(judged({**facts, "descriptors": more}, meant, around))]

    assert wrong("/dev/null") == []
    assert wrong("/cache/memory") == wrong("/cache/devices") == ["open files beside its disks"]
    booted = [fact["name"] for fact in failed(judged(facts, MEANT, Surroundings(HOST, SUPERVISOR)))]
    assert len(booted) == 4, "one that is booted has none"


def held_egress() -> dict[str, Any]:
    """The process of the way out as it should be."""
    facts = held()
    return {
        **facts,
        "capabilities": {**facts["capabilities"], "permitted": "200000", "effective": "200000", "bounding": "201000"},
        "namespaces": {**OWN, "net": HOST["net"], "pid": HOST["pid"]},
        "mounts": [{"path": "/", "kind": "tmpfs", "options": "ro,nosuid,nodev,noexec,relatime"}],
        "descriptors": [{"target": "/", "writable": True}, {"target": "socket:[9]", "writable": True}],
        "limits": {
            "Max address space": str(egress_jail.ADDRESS_SPACE),
            "Max processes": str(egress_jail.MOST_THREADS),
            "Max open files": str(egress_jail.MOST_OPEN_FILES),
            "Max core file size": "0",
            "Max locked memory": "0",
            "Max file size": "0",
        },
    }


def wrong_with_egress(facts: dict[str, Any]) -> list[str]:
    jail = EgressJail(40000, "/proc/1/ns/user", "/proc/1/ns/net", ("/usr/bin/pasta",))
    return [fact["name"] for fact in failed(judged_egress(facts, jail, Surroundings(HOST, SUPERVISOR)))]


def test_a_way_out_that_is_held_as_it_should_be_passes() -> None:
    assert wrong_with_egress(held_egress()) == []
    older = held_egress()
    older["capabilities"] = dict.fromkeys(older["capabilities"], "0")
    assert wrong_with_egress(older) == []  # it may keep less


@pytest.mark.parametrize(
    ("member", "value", "named"),
    [
        ("ids", {"user_ids": [0], "group_ids": [40000], "groups": []}, "user id, of this run's way out alone"),
        ("ids", {"user_ids": [40000], "group_ids": [0], "groups": []}, "group id, of this run's way out alone"),
        ("ids", {"user_ids": [40000], "group_ids": [40000], "groups": [0]}, "other groups"),
        ("no_new_privileges", False, "no new privileges"),
        ("system_call_filter", False, "system call filter on every thread"),
        ("descriptors", [{"target": "/home/u/.ssh/id", "writable": False}], "open files"),
        ("environment", ["PATH", "PGPASSWORD"], "environment"),
        ("mounts", [{"path": "/", "kind": "ext4", "options": "ro,nosuid,nodev,noexec"}], "mounts"),
        ("mounts", [{"path": "/", "kind": "tmpfs", "options": "rw,nosuid,nodev,noexec"}], "root"),
    ],
)
def test_each_wrong_fact_about_the_way_out_is_named(member: str, value: Any, named: str) -> None:
    assert wrong_with_egress({**held_egress(), member: value}) == [named]


@pytest.mark.parametrize(("name", "bits"), [("permitted", "201000"), ("bounding", "ffffff"), ("ambient", "1")])
def test_a_way_out_with_more_capabilities_is_told_from_others(name: str, bits: str) -> None:
    facts = held_egress()
    facts["capabilities"][name] = bits
    assert wrong_with_egress(facts) == [f"{name} capabilities"]


@pytest.mark.parametrize("name", ["user", "mnt", "net", "ipc", "uts"])
def test_a_way_out_in_a_wrong_namespace_is_told_from_others(name: str) -> None:
    facts = held_egress()
    facts["namespaces"][name] = SUPERVISOR["net"] if name == "net" else HOST[name]
    assert wrong_with_egress(facts) == [f"{name} namespace"]


def test_ids_that_were_read_outside_are_told_as_they_are_inside(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for file in ("uid_map", "gid_map"):
        (tmp_path / "7" / file).write_text("         0       1000          1\n         1     100000      65536\n")
    facts = {"ids": {"user_ids": [132768], "group_ids": [1000], "groups": [5]}, "environment": []}
    found = process_facts.inner_ids(facts, 7, str(tmp_path))
    assert found == {"ids": {"user_ids": [32769], "group_ids": [0], "groups": [-1]}, "environment": []}
