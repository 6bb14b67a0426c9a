"""script/bootstrap on machines that lack this and that; root's commands are written down instead of done."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packer_mirror import FAR_AWAY, Mirror, Signer, release_files, serving, signing

from vmkiln.host.doctor import packer_version

ROOT = Path(__file__).parents[2]
PROGRAMS = ("awk", "bash", "cat", "cut", "dirname", "env", "getent", "grep", "gpgv", "head", "id", "mktemp", "realpath", "rm", "stat", "tail", "uname")  # fmt: skip  # noqa: E501
PINNED = "1.9.5"
NEWER = "1.9.4"  # its checksum is not known beforehand


@dataclass
class Machine:
    """A machine on which programs of a fresh one are, and nothing that builds need; `folder` is its PATH."""

    folder: Path
    journal: Path

    def add(self, name: str, script: str) -> Path:
        """A program of that name."""
        program = self.folder / name
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        return program

    def bootstrap(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it, without the Python environment."""
        return subprocess.run(
            [ROOT / "script/bootstrap", "--system-only", *arguments],
            env={"PATH": str(self.folder), "HOME": str(self.folder), "KVM_DEVICE": "/nonexistent", **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def done_as_root(self) -> list[str]:
        """The commands, in order."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One whose distribution has everything but Packer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = Machine(folder, tmp_path / "journal")
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    # as root there is no sudo before it; either way nothing of this machine is touched
    written = f"printf '%s\\n' \"$2\" >> {made.journal}"
    made.add("sh", written)
    made.add("sudo", f'shift; {written}; [[ $2 != *"/usr/local/bin/.packer.new"* ]] || true')
    made.add("apt-get", "exit 1")
    made.add("timeout", '[[ $1 == 10 ]] || exit 9; shift; exec /usr/bin/timeout 1 "$@"')
    packages(made)
    return made


def packages(machine: Machine, *, packer: str = "(none)") -> None:
    lines = ('for name in "${@:2}"; do', 'echo "$name:"; candidate=1', f'[[ $name != packer ]] || candidate="{packer}"')
    machine.add("apt-cache", "\n".join([*lines, 'echo "  Candidate: $candidate"', "done"]))


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with signing() as made:
        yield made


@pytest.fixture
def mirror(signer: Signer) -> Iterator[Mirror]:
    with serving() as served:
        for version in (PINNED, NEWER):
            served.files |= release_files(signer, version, f"#!/bin/sh\necho Packer v{version}\n".encode())
        yield served


@pytest.fixture
def at_mirror(mirror: Mirror, signer: Signer, tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "key.asc"
    key.write_bytes(signer.public_key())
    return {"VMKILN_PACKER_URL": mirror.address, "VMKILN_PACKER_KEY": str(key), "VMKILN_PACKER_VERSION": NEWER}


def test_packer_is_fetched_where_the_distribution_has_none(
    machine: Machine, mirror: Mirror, at_mirror: dict[str, str]
) -> None:
    kept = machine.folder.parent / "kept"
    # root's part really happens, elsewhere than in /usr/local/bin
    machine.add(
        "sh",
        f'printf "%s\\n" "$2" >> {machine.journal}; [[ $2 != install* ]] || /bin/cp "$(cut -d"\'" -f2 <<<"$2")" {kept}',
    )
    if os.geteuid() != 0:
        machine.add("sudo", f'exec {machine.folder}/sh "${{@:2}}"')
    done = machine.bootstrap(**at_mirror)
    assert done.returncode == 0, done.stderr
    assert kept.read_text() == f"#!/bin/sh\necho Packer v{NEWER}\n"
    first, *_, placed, renamed = machine.done_as_root
    assert first == "apt-get update -q"
    assert not any(" packer" in line for line in machine.done_as_root if "apt-get" in line)
    assert placed.startswith("install -D -o root -g root -m 0755 '/")
    assert placed.endswith("/packer' /usr/local/bin/.packer.new")
    assert renamed.endswith("mv -f /usr/local/bin/.packer.new /usr/local/bin/packer")
    assert not Path(placed.split("'")[1]).exists(), "what was fetched is left behind"


def test_version_licence_and_source_are_told_before_anything_is_fetched(
    machine: Machine, mirror: Mirror, at_mirror: dict[str, str]
) -> None:
    told = machine.bootstrap("--dry-run", **at_mirror).stderr
    assert f"Packer {NEWER} (MPL-2.0) as /usr/local/bin/packer, for the distribution has none:" in told
    assert f"{mirror.address}/{NEWER}/packer_{NEWER}_linux_amd64.zip, signature and checksum verified" in told
    assert mirror.asked == []
    assert machine.done_as_root == []
    lines = machine.bootstrap(**at_mirror).stderr.splitlines()
    assert next(index for index, line in enumerate(lines) if "(MPL-2.0)" in line) < next(
        index for index, line in enumerate(lines) if "fetching" in line
    )


def test_the_version_that_is_fetched_unasked_is_the_last_free_one(machine: Machine) -> None:
    told = machine.bootstrap("--dry-run").stderr
    assert f"Packer {packer_version.shown(packer_version.LAST_FREE)} (MPL-2.0)" in told
    assert f"https://releases.hashicorp.com/packer/{PINNED}/packer_{PINNED}_linux_amd64.zip" in told


def refused_at(machine: Machine, at_mirror: dict[str, str], **changes: str) -> str:
    done = machine.bootstrap(**{**at_mirror, **changes})
    assert done.returncode == 3, done.stderr
    assert machine.done_as_root == [], "something was installed in vain"
    return done.stderr


def test_without_a_way_to_packer_nothing_is_installed_and_it_is_told(
    machine: Machine, at_mirror: dict[str, str]
) -> None:
    with serving() as away:
        address = away.address
    told = refused_at(machine, at_mirror, VMKILN_PACKER_URL=address, VMKILN_PACKER_VERSION=PINNED)
    assert "cannot be fetched: [Errno 111] Connection refused" in told
    url = f"https://releases.hashicorp.com/packer/{PINNED}/packer_{PINNED}_linux_amd64.zip"
    assert f"    curl -fLO {url}\n" in told
    assert (
        "echo '6f8272658a6d606583c2b3deaad272233db6e84a6ee651bf17a0d46d8cea4a9c  packer_1.9.5_linux_amd64.zip'" in told
    )
    assert "    script/bootstrap --packer ./packer\n" in told


def test_what_another_key_signed_is_refused(machine: Machine, at_mirror: dict[str, str]) -> None:
    del at_mirror["VMKILN_PACKER_KEY"]
    assert "is not good" in refused_at(machine, at_mirror)


def test_the_pinned_version_has_to_have_the_known_checksum(machine: Machine, at_mirror: dict[str, str]) -> None:
    told = refused_at(machine, at_mirror, VMKILN_PACKER_VERSION=PINNED)
    assert "but 6f8272658a6d606583c2b3deaad272233db6e84a6ee651bf17a0d46d8cea4a9c is expected" in told


def test_packer_is_fetched_through_a_proxy(machine: Machine, mirror: Mirror, at_mirror: dict[str, str]) -> None:
    done = machine.bootstrap(**{**at_mirror, "VMKILN_PACKER_URL": FAR_AWAY, "http_proxy": mirror.address})
    assert done.returncode == 0, done.stderr
    assert mirror.asked[-1] == f"{FAR_AWAY}/{NEWER}/packer_{NEWER}_linux_amd64.zip"


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="only Debian and Ubuntu have apt-helper")
def test_a_machine_without_gpgv_sees_with_apt_whether_packer_can_be_had(
    machine: Machine, mirror: Mirror, at_mirror: dict[str, str]
) -> None:
    (machine.folder / "gpgv").unlink()
    with serving() as away:
        address = away.address
    told = refused_at(machine, at_mirror, VMKILN_PACKER_URL=address)
    assert re.search(r"cannot be had: .*([Cc]onnection refused|Unable to connect)", told)  # as each apt words it
    # gpgv is not there afterwards either, for root's commands are only written down: it is the next thing that lacks
    told = machine.bootstrap(**at_mirror).stderr
    assert "apt-get update -q" in machine.done_as_root
    assert "the program `gpgv` is not installed" in told


def test_a_machine_without_certificates_sees_whether_somebody_answers(
    machine: Machine, mirror: Mirror, at_mirror: dict[str, str]
) -> None:
    bare = {"CERTIFICATES_FILE": "/nonexistent"}
    with serving() as away:
        address = away.address.replace("http:", "https:")
    assert f"{address} does not answer" in refused_at(machine, at_mirror, VMKILN_PACKER_URL=address, **bare)
    # who answers is asked again once there are certificates; this one speaks no TLS
    told = machine.bootstrap(**{**at_mirror, "VMKILN_PACKER_URL": mirror.address.replace("http:", "https:"), **bare})
    assert machine.done_as_root[0] == "apt-get update -q"
    assert "cannot be fetched: " in told.stderr


@pytest.mark.parametrize(
    "version", ["1.6.5", "1.6.6", "1.9.1", "1.9.2", "1.9.3", "1.9.4", "1.9.5", "1.10.0", "1.16.0", "0.12.3", "2.0.0"]
)
def test_bootstrap_judges_versions_as_builds_do(machine: Machine, version: str) -> None:
    parsed = packer_version.parse_version(f"Packer v{version}")
    assert parsed
    done = machine.bootstrap("--dry-run", VMKILN_PACKER_VERSION=version)
    if obstacle := packer_version.obstacle(parsed):
        assert done.returncode == 3
        assert f"Packer {version} {obstacle}" in done.stderr
    else:
        assert done.returncode == 0
        assert f"Packer {version} ({packer_version.licence(parsed)})" in done.stderr


def test_no_number_is_no_version(machine: Machine) -> None:
    done = machine.bootstrap("--dry-run", VMKILN_PACKER_VERSION="latest")
    assert (done.returncode, "Packer latest is not the number of a version" in done.stderr) == (3, True)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'Packer v1.9.3'", "Packer 1.9.3 (PATH/packer) crashes when"),
        ("echo 'Packer v1.2.0'", "Packer 1.2.0 (PATH/packer) is too old"),
        ("echo 12 34", "PATH/packer is not HashiCorp's Packer"),
        ("exec sleep 60", "PATH/packer is not HashiCorp's Packer"),
    ],
)
def test_a_packer_on_path_that_builds_cannot_use_is_refused(machine: Machine, script: str, told: str) -> None:
    (machine.folder / "sleep").symlink_to(shutil.which("sleep") or "")
    machine.add("packer", script)
    done = machine.bootstrap("--dry-run")
    assert done.returncode == 3
    assert told.replace("PATH", str(machine.folder)) in done.stderr
    assert "script/bootstrap --packer PATH" in done.stderr


def test_ones_own_packer_is_taken(machine: Machine, tmp_path: Path) -> None:
    machine.add("packer", "echo 'Packer v1.9.2'")
    own = tmp_path / "it's packer"
    own.write_text("#!/bin/bash\necho 'Packer v1.11.2'\n")
    own.chmod(0o755)
    told = machine.bootstrap("--dry-run", "--packer", str(own)).stderr
    assert f"Packer 1.11.2 (Business Source License 1.1, see its terms) from {own}, as /usr/local/bin/packer" in told
    assert "it'\\''s packer' /usr/local/bin/.packer.new" in told
    own.chmod(stat.S_IRUSR)
    if os.geteuid() != 0:
        assert machine.bootstrap("--dry-run", "--packer", str(own)).returncode == 3
    assert "is no program" in machine.bootstrap("--dry-run", "--packer", str(tmp_path / "none")).stderr


def test_the_licence_of_a_packaged_packer_is_told(machine: Machine) -> None:
    packages(machine, packer="1.16.0-1")
    told = machine.bootstrap("--dry-run").stderr
    assert "the package packer is version 1.16.0, under Business Source License 1.1, see its terms" in told
    packages(machine, packer="1.9.3-1")
    assert "the package packer 1.9.3 crashes when" in machine.bootstrap("--dry-run").stderr


def kvm_of(machine: Machine, mode: str, group: str, number: int) -> dict[str, str]:
    """A device as `stat` tells of it."""
    device = machine.folder.parent / "kvm"
    device.touch()
    real = shutil.which("stat")
    answers = (
        f"'%a') echo {mode}; exit ;; '%G') echo {group}; exit ;; '%g') echo {number}; exit ;; '%u') echo 0; exit ;;"
    )
    machine.add("stat", f'if [[ ${{*: -1}} == {device} ]]; then case $2 in {answers} esac; fi; exec {real} "$@"')
    return {"KVM_DEVICE": str(device)}


def builder(machine: Machine, groups: str) -> None:
    """An ordinary user, whoever runs the tests."""
    machine.add("id", f"case $1 in -u) echo 4321 ;; -un) echo someone ;; -G) echo {groups} ;; *) exit 1 ;; esac")
    machine.add("getent", "echo someone:x:4321:4321::/nonexistent:/bin/sh")


def test_the_builder_gets_into_the_group_that_the_device_has(machine: Machine) -> None:
    builder(machine, "4321")
    told = machine.bootstrap("--dry-run", "--user", "someone", **kvm_of(machine, "660", "virt", 77)).stderr
    assert f"{machine.folder.parent}/kvm for someone, through its group virt, so that builds are not emulated" in told
    assert "# usermod --append --groups virt someone" in told


@pytest.mark.parametrize(("mode", "groups"), [("660", "4321 77"), ("666", "4321")])
def test_who_may_use_the_device_is_left_alone(machine: Machine, mode: str, groups: str) -> None:
    builder(machine, groups)
    told = machine.bootstrap("--dry-run", "--user", "someone", **kvm_of(machine, mode, "virt", 77)).stderr
    assert "--groups" not in told


@pytest.mark.parametrize(("mode", "group"), [("600", "root"), ("660", "root"), ("600", "kvm"), ("660", "UNKNOWN")])
def test_nobody_is_put_into_a_group_that_would_not_help(machine: Machine, mode: str, group: str) -> None:
    builder(machine, "4321")
    told = machine.bootstrap("--dry-run", "--user", "someone", **kvm_of(machine, mode, group, 0)).stderr
    assert "--groups" not in told
    assert f"is {group}'s with mode {mode}, so someone may not use it and builds would be emulated" in told


def test_the_tests_need_gpgs_agent(machine: Machine) -> None:
    assert " gpg-agent " in machine.bootstrap("--dry-run", "--with-tests").stderr
