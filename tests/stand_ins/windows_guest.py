"""Plays Windows in a VM, as the program of a Linux that is booted with the devices of a Windows VM.

Standard library only. It reads the answer disc as set-up would, reports on the second serial port, opens the WinRM
double with the certificate of the run, restarts by the firmware when it is told to, and powers the VM off at its end.
What it has seen and done stays in the image, as lines of `journal` on its second partition. No PowerShell runs.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, "/")

from stand_ins import windows_double
from stand_ins.windows_machine import DEPROVISIONING, WindowsMachine

STATE, JOURNAL, OEM = Path("/state/files"), Path("/state/journal"), Path("/state/oem")
REPORT = "/dev/ttyS1"
PORT = 5986
UNATTEND = "{urn:schemas-microsoft-com:unattend}"
SHELL_SECONDS = 30  # as deprovision.ps1 waits


class Guest:
    """What is found at a boot, and what is done about it."""

    def __init__(self) -> None:
        discs = sorted(Path("/discs").iterdir())
        self.answer = next(disc for disc in discs if (disc / "run.json").exists())
        self.run: dict[str, Any] = json.loads((self.answer / "run.json").read_text())
        self.machine = WindowsMachine(on_reset=self.restart, on_deprovisioned=self.deprovisioned, on_off=self.turn_off)
        self.machine.disc = {
            file.name: file.read_bytes() for disc in discs if disc != self.answer for file in disc.iterdir()
        }
        self.is_set_up = STATE.exists()
        if self.is_set_up:
            self.machine.files = pickle.loads(STATE.read_bytes())  # noqa: S301 (it wrote that itself)
            self.machine.journal += JOURNAL.read_text().splitlines()
        self.machine.note(f"boot with {', '.join(drivers())}")
        self.machine.note(f"discs {len(discs)}")
        self.double: windows_double.Double | None = None
        self.logs_on = False

    def report(self, line: str) -> None:
        """A line on the second serial port."""
        with Path(REPORT).open("wb", buffering=0) as port:
            port.write(f"\n{line}\n".encode())  # the firmware may have written to it, and ended no line

    def act(self, phase: str, name: str, work: Callable[[], None]) -> None:
        """Do one act of set-up, and tell how it ended; after one that failed nothing more is done."""
        try:
            work()
        except Exception as error:
            self.report(f"VMKILN {phase} {name} failed {error!r}")
            threading.Event().wait()
        self.report(f"VMKILN {phase} {name} ok")

    def read_answer(self) -> None:
        """Take from the answer what set-up takes, and compare it with what the script is told."""
        texts = {(self.answer / name).read_text() for name in ("Autounattend.xml", "Unattend.xml")}
        (text,) = texts
        root = ET.fromstring(text)  # noqa: S314 (our own)
        passes = [settings.get("pass") for settings in root.iter(f"{UNATTEND}settings")]
        assert passes == ["specialize", "oobeSystem"], passes
        commands = [path.text or "" for path in root.iter(f"{UNATTEND}Path")]
        assert any("vmkiln.ps1 -Phase specialize" in command for command in commands), commands
        user = next(root.iter(f"{UNATTEND}LocalAccount"))
        name, password = user.find(f"{UNATTEND}Name"), user.find(f"{UNATTEND}Password/{UNATTEND}Value")
        assert name is not None
        assert password is not None
        assert (name.text, password.text) == (self.run["user"], self.run["password"]), "another login"
        assert (self.answer / "vmkiln.ps1").read_text().isascii()
        self.logs_on = next(root.iter(f"{UNATTEND}AutoLogon"), None) is not None

    def run_script(self) -> None:
        """What set-up does at its end; with the key of a maker it runs no script, and only a logon does."""
        if OEM.exists() and not self.logs_on:
            raise PermissionError("with this key no script is run")

    def compare_address(self) -> None:
        """What DHCP gave is what the run says."""
        given = Path("/address").read_text().strip()
        run = self.run
        self.machine.note(f"address {given}")
        wanted = f"{run['address']}/{run['prefix']} {run['router']} {run['nameServer']}"
        assert given.startswith(wanted), f"{given} and not {wanted}"
        assert Path("/sys/class/net/eth0/address").read_text().strip() == run["mac"].lower()

    def open_listener(self) -> None:
        """The certificate of the run, and the port behind it."""
        certificate = subprocess.run(
            ["/usr/bin/openssl", "pkcs12", "-in", str(self.answer / "listener.pfx"), "-nodes", "-passin", "stdin"],
            input=self.run["certificatePassword"].encode(), check=True, capture_output=True,
        ).stdout  # fmt: skip
        Path("/listener.pem").write_bytes(certificate)
        context = windows_double.context_of("/listener.pem", "/listener.pem")
        double = windows_double.Double(
            self.machine, context, self.run["user"], self.run["password"], PORT, host="0.0.0.0"
        )
        self.machine.connect(down=double.close, up=lambda: None, cut=double.cut)
        self.double = double
        double.open()

    def set_up(self) -> None:
        """The acts of set-up, or, where they were done before, only what Windows starts by itself."""
        if self.is_set_up:
            self.machine.note(f"address {Path('/address').read_text().strip()}")
            self.open_listener()
            return
        self.act("specialize", "answer", self.read_answer)
        self.act("complete", "script", self.run_script)
        self.act("complete", "network", self.compare_address)
        default = (self.answer / "deprovision-default.ps1").read_bytes()
        self.machine.files[DEPROVISIONING] = default
        self.act("complete", "listener", self.open_listener)
        self.report("VMKILN-READY ok")

    def save(self) -> None:
        """Keep what a disk would keep, but for what has the password in it."""
        secret = self.run["password"].encode()
        kept = {
            name: data for name, data in self.machine.files.items() if secret not in data and "\\temp\\" not in name
        }
        STATE.write_bytes(pickle.dumps(kept))
        JOURNAL.write_text("".join(f"{line}\n" for line in self.machine.journal))
        os.sync()

    def restart(self) -> None:
        """End the connections, then restart as Windows does: by the firmware."""
        assert self.double is not None
        self.double.close("rst")
        self.save()
        subprocess.run(["/bin/busybox", "reboot", "-f"], check=True)

    def deprovisioned(self) -> None:
        """Begin the end, beside what still answers."""
        threading.Thread(target=self.finish).start()

    def finish(self) -> None:
        """Wait until nobody is logged in, take away what is ours, say so, and power off."""
        assert self.double is not None
        until = time.monotonic() + SHELL_SECONDS
        while self.double.has_shells and time.monotonic() < until:
            time.sleep(0.1)
        self.machine.note("finished, and nobody was logged in" if not self.double.has_shells else "finished")
        self.double.close("rst")
        self.machine.files.clear()
        self.save()
        STATE.unlink()
        self.report("VMKILN-FINISH ok")
        self.turn_off()

    def turn_off(self) -> None:
        """Power off."""
        os.sync()
        subprocess.run(["/bin/busybox", "poweroff", "-f"], check=True)


def drivers() -> list[str]:
    """The driver of each device that has one, which says what the VM is made of."""
    found = set()
    for device in Path("/sys/bus/pci/devices").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add((device / "driver").readlink().name)
    return sorted(found)


if __name__ == "__main__":
    guest = Guest()
    guest.set_up()
    threading.Event().wait()
