"""An image that met a release policy, built for real from a cold VM, and then entered by `vmkiln image boot --ssh`."""

import json
import re
import shlex
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import VMKILN, Told, a_template, runner, shell

from vmkiln.run.run_event import Notice
from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.long]
MARK = "made-by-a-customizer"
LONGEST_SECONDS = 900
# what is asked inside: who it is, and whether anything can be reached from there
INSIDE = f"""
cat /etc/{MARK}
id -un
sudo -n id -u
hostname
probe() {{ timeout 5 bash -c "exec 3<> /dev/tcp/$1/$2" 2> /dev/null && echo "$3 open" || echo "$3 closed"; }}
probe 127.0.0.1 22 itself
probe $(ip -4 route show default | cut -d' ' -f3) 22 router
probe @HOST@ @PORT@ host
probe 192.0.2.1 80 elsewhere
sudo rm /etc/{MARK}
sync
"""


@pytest.fixture(scope="module")
def built(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A build on a host whose operator demands cold VMs, where VMs go on from saved ones else."""
    policy = replace(prepared, release_policy="cold")
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
    assert internal["releasePolicy"] == ["cold"]
    assert not any(internal["wentOn"].values()), internal["wentOn"]


def test_a_real_guest_is_entered_and_reaches_nobody(built: Told) -> None:
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
            told = entered(boot, enter, script)
            assert told.splitlines() == [
                MARK, "packer", "0", "looked-at", "itself open", "router closed", "host closed", "elsewhere closed",
            ]  # fmt: skip
            stranger = [re.sub("^IdentityFile=.*", "IdentityFile=/dev/null", word) for word in enter]
            assert subprocess.run([*stranger, "true"], capture_output=True, check=False).returncode == 255
        finally:
            boot.terminate()
        assert boot.wait(LONGEST_SECONDS) == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5).close()
    (key,) = [word for word in enter if word.startswith("IdentityFile=")]
    assert not Path(key.removeprefix("IdentityFile=").strip('"')).exists()
    verified = subprocess.run([*VMKILN, "image", "verify", image], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, f"what was deleted inside was in an overlay: {verified.stderr}"


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
