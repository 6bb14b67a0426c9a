"""An image that met a release policy, built for real from a cold VM, and then entered by `vmkiln image boot --ssh`.

What was read of it from outside is held against what its own systemd and dpkg say inside.
"""

import json
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import VMKILN, Told, a_template, runner, shell

from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run.run_event import Notice
from vmkiln.settings import Settings
from vmkiln.store.database import opened

pytestmark = [pytest.mark.vm, pytest.mark.long]
MARK = "made-by-a-customizer"
DEMANDS = ["cold", "hygiene", "provenance"]
LONGEST_SECONDS = 900
# what is asked inside: who it is, and whether anything can be reached from there
INSIDE = rf"""
cat /etc/{MARK}
id -un
sudo -n id -u
hostname
probe() {{ timeout 5 bash -c "exec 3<> /dev/tcp/$1/$2" 2> /dev/null && echo "$3 open" || echo "$3 closed"; }}
probe 127.0.0.1 22 itself
probe $(ip -4 route show default | cut -d' ' -f3) 22 router
probe @HOST@ @PORT@ host
probe 192.0.2.1 80 elsewhere
systemctl list-sockets --all --no-legend --no-pager --full | grep -o '[^ ]*[.]socket' | grep -v ^/ | sort -u |
while read -r unit; do
  echo "socket $unit $(systemctl show -P ActiveState "$unit") $(systemctl show -P ConditionResult "$unit")" \
    $(systemctl show -P WantedBy "$unit") $(systemctl show -P RequiredBy "$unit")
  systemctl show -P Listen "$unit" | sed "s|^|listen $unit |"
done
ss -Hax | sed 's/^/ss /'
dpkg-query -W -f 'package ${{db:Status-Status}} ${{Package}} ${{Architecture}} ${{Version}}\n'
sudo rm /etc/{MARK}
sync
"""


@pytest.fixture(scope="module")
def built(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A build on a host whose operator demands a clean image, known packages and cold VMs; else they go on from saved."""
    policy = replace(prepared, release_policy=",".join(DEMANDS), allowed_residues="")
    told = runner(policy, tmp_path_factory.mktemp("files"))(a_template(shell(f"echo {MARK} | sudo tee /etc/{MARK}")))
    assert told.error is None, told.error
    return told


def test_what_a_policy_demands_is_so_and_is_in_the_statement(built: Told) -> None:
    facts = built.summary["facts"]
    starts = {name: fact for name, fact in facts.items() if name.endswith("_went_on")}
    assert starts
    assert not any(starts.values()), starts
    said = [event.text for event in built.events if isinstance(event, Notice)]
    assert not [text for text in said if "goes on from one that was booted and saved" in text]
    command = [*VMKILN, "image", "provenance", built.summary["outputs"][0]["artifact_id"]]
    statement = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["releasePolicy"] == DEMANDS
    assert not any(internal["wentOn"].values()), internal["wentOn"]
    assert facts["hygiene"]["verdict"] == "Clean", facts["hygiene"]
    assert is_verified(built.summary["outputs"][0]["artifact_id"])


def test_a_real_guest_is_entered_and_reaches_nobody(built: Told, prepared: Settings) -> None:
    image = built.summary["outputs"][0]["artifact_id"]
    words = [*VMKILN, "image", "boot", image, "--ssh", "--minutes", "30"]
    with (
        socket.create_server(("0.0.0.0", 0)) as host,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as boot,
    ):
        try:
            enter = command_of(boot)
            port = int(enter[enter.index("-p") + 1])
            script = INSIDE.replace("@HOST@", lan_address()).replace("@PORT@", str(host.getsockname()[1]))
            told = entered(boot, enter, script).splitlines()
            assert [line for line in told if not line.startswith(("socket ", "listen ", "ss ", "package "))] == [
                MARK, "packer", "0", "looked-at", "itself open", "router closed", "host closed", "elsewhere closed",
            ]  # fmt: skip
            read = contents_of(prepared, image)
            assert_it_listens_as_read(told, read)
            assert_it_has_the_packages_that_were_read(told, read)
            stranger = [re.sub("^IdentityFile=.*", "IdentityFile=/dev/null", word) for word in enter]
            assert subprocess.run([*stranger, "true"], capture_output=True, check=False).returncode == 255
        finally:
            boot.terminate()
        assert boot.wait(LONGEST_SECONDS) == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5).close()
    (key,) = [word for word in enter if word.startswith("IdentityFile=")]
    assert not Path(key.removeprefix("IdentityFile=").strip('"')).exists()
    assert is_verified(image), "what was deleted inside was in an overlay"


def is_verified(image: str) -> bool:
    """Whether an image is, byte for byte, what its signed statement says."""
    done = subprocess.run([*VMKILN, "image", "verify", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return "verified: " in done.stdout


def contents_of(prepared: Settings, image: str) -> ImageContents:
    """What was read of an image from outside, as it is kept with it."""
    with opened(prepared.database) as store:
        return read_contents(store.images.documents_of(image)[CONTENTS])


def words_of(told: Sequence[str], kind: str) -> list[list[str]]:
    """The words of all lines of a kind."""
    return [line.split()[1:] for line in told if line.startswith(f"{kind} ")]


def assert_it_listens_as_read(told: Sequence[str], read: ImageContents) -> None:
    """The sockets of the image are those that its systemd has for some target, with their addresses, and opened."""
    assert read.listening, "it is known"
    sockets = {unit: words for unit, *words in words_of(told, "socket")}
    for_targets = {unit for unit, (_, _, *by) in sockets.items() if any(one.endswith(".target") for one in by)}
    assert for_targets == set(read.listening), sockets
    inside: dict[str, set[str]] = {unit: set() for unit in sockets}
    for unit, *address, kind in words_of(told, "listen"):
        inside[unit].add(f"{kind.strip('()').lower()} {' '.join(address)}")
    assert {unit: inside[unit] for unit in for_targets} == {
        unit: set(addresses.split(", ")) for unit, addresses in read.listening.items()
    }
    closed = {unit for unit in for_targets if sockets[unit][0] != "active"}
    assert all(sockets[unit][1] == "no" for unit in closed), f"but for those of other machines: {sockets}"
    opened_by_it = [address.split(" ", 1) for unit in for_targets - closed for address in inside[unit]]
    paths = {path for kind, path in opened_by_it if path.startswith("/") and kind != "fifo"}
    assert paths
    assert paths <= {word for words in words_of(told, "ss") for word in words}, "as the kernel has it"


def assert_it_has_the_packages_that_were_read(told: Sequence[str], read: ImageContents) -> None:
    """The packages of the image are those that its dpkg tells."""
    gone = {"config-files", "not-installed"}
    inside = {tuple(words) for state, *words in words_of(told, "package") if state not in gone}
    assert inside == {(package.name, package.architecture, package.version) for package in read.packages}
    assert len(inside) > 100, "a system has more than a few"


def command_of(boot: "subprocess.Popen[bytes]") -> list[str]:
    """The command that was printed to enter the image."""
    assert boot.stderr is not None
    for line in boot.stderr:
        if found := re.search(rb"to enter it, once it has booted: (.*)", line):
            return shlex.split(found[1].decode())
    raise AssertionError("no command was told")


def entered(boot: "subprocess.Popen[bytes]", enter: list[str], script: str) -> str:
    """What the script printed inside, as soon as the guest lets somebody in."""
    until = time.monotonic() + LONGEST_SECONDS
    while True:
        assert boot.poll() is None, "the VM ended"
        done = subprocess.run([*enter, script], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
        if done.returncode != 255:
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert time.monotonic() < until, done.stderr
        time.sleep(2)


def lan_address() -> str:
    """This machine's address on its own network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))
        return str(probe.getsockname()[0])
