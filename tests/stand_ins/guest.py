"""Stands in for QEMU and its guest: takes the sockets that QEMU takes, answers QMP, and plays Packer or a Linux.

    python -I -S guest.py -name NAME ...QEMU's arguments...      a virtual machine
    python -I -S guest.py packer VM                               Packer, in the container group's one

It runs where QEMU would: in the run's namespaces, without a capability. The two guests meet in the run's folder in
place of the network: `<vm>.power` is the VM's power button. Where the run's folder has a file `hold` that names a
moment, whoever comes to it writes `reached` and waits for somebody to open the pipe `gate`.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time

PR_SET_PDEATHSIG = 1
FOLDER = "/run/vmkiln"
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}


def hold(moment: str, folder: str = FOLDER) -> None:
    """Wait here, when the run is to be held at this moment."""
    try:
        with open(f"{folder}/hold") as file:  # noqa: PTH123 (no pathlib: it takes as long as all the rest)
            wanted = file.readline().rstrip()
    except FileNotFoundError:
        return
    if wanted == moment:
        with open(f"{folder}/reached", "w") as file:  # noqa: PTH123
            file.write(moment)
        with open(f"{folder}/gate") as gate:  # noqa: PTH123
            gate.readline()


def sockets_of(arguments: list[str]) -> dict[str, socket.socket]:
    """Every socket that the arguments name, open: `control`, `console`, `channel0`, ..."""
    found = {}
    for text in arguments:
        if text.startswith("socket,id="):
            fields = dict(part.partition("=")[::2] for part in text.split(",")[1:])
            found[fields["id"]] = socket.socket(fileno=int(fields["fd"]))
    return found


class Monitor:
    """The QMP side of the machine."""

    def __init__(self, plug: socket.socket) -> None:
        self.plug = plug
        self._pending = b""
        self.say(GREETING)

    def say(self, message: object) -> None:
        self.plug.sendall(json.dumps(message).encode() + b"\n")

    def asked(self) -> list[str]:
        """The commands that came, each answered; the machine ends when its other side is gone."""
        chunk = self.plug.recv(65536)
        if not chunk:
            sys.exit(1)
        self._pending += chunk
        found = []
        while self._pending:
            try:
                request, end = json.JSONDecoder().raw_decode(self._pending.decode())  # one need not end its line
            except ValueError:
                break
            self._pending = self._pending[end:].lstrip()
            self.say({"return": {}, **({"id": request["id"]} if "id" in request else {})})
            found.append(request["execute"])
        return found

    def wait_until_told_to_go_on(self) -> None:
        """The machine stands still until then."""
        while "cont" not in self.asked():
            pass

    def wait_until_read(self) -> None:
        """Wait until the other side has read what was said (unix(7), SIOCOUTQ); a guest that boots takes longer."""
        while fcntl.ioctl(self.plug, termios.TIOCOUTQ, bytes(4)) != bytes(4):
            time.sleep(0.01)
        time.sleep(0.05)


def lie_of_run() -> str:
    """How the run departs from the truth; '' where a test runs a phase by itself."""
    try:
        with open(f"{FOLDER}/lie") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError:
        return ""


def report(name: str, *, is_off: bool) -> bytes:
    """What a Windows VM says on its second serial port as it is set up, and before it is off."""
    lie = lie_of_run() if name == "build-vm" else ""
    if not is_off and lie == "windows that is never ready":
        return b"VMKILN complete winrm failed access is denied\n"
    if not is_off:
        return b"VMKILN specialize hook ok\nVMKILN complete winrm ok\nVMKILN-READY ok\n"
    if lie == "windows without a word at its end":
        return b""
    return b"VMKILN-FINISH missing user\n" if lie == "windows with a user left" else b"VMKILN-FINISH ok\n"


def build_vm(name: str, arguments: list[str]) -> None:
    """A VM that runs until somebody presses its power button. One with a second serial port is a Windows."""
    hold("BVM up" if name == "build-vm" else "-")
    sockets = sockets_of(arguments)
    monitor = Monitor(sockets["control"])
    monitor.wait_until_told_to_go_on()
    power = f"{FOLDER}/{name}.power"
    os.mkfifo(power)
    button = os.open(power, os.O_RDWR)
    second = sockets.get("channel0")
    sockets["console"].sendall(f"{name} login: ".encode())
    if second is not None:
        second.sendall(report(name, is_off=False))
    while True:
        ready, _, _ = select.select([monitor.plug, button], [], [])
        if button in ready or "system_powerdown" in monitor.asked():
            if second is not None:
                second.sendall(report(name, is_off=True))
            monitor.wait_until_read()
            return


def container_group(name: str, arguments: list[str]) -> None:
    """A VM whose one program is Packer; it ends with that."""
    sockets = sockets_of(arguments)
    monitor = Monitor(sockets["control"])
    monitor.wait_until_told_to_go_on()
    vm = name.removeprefix("container-")
    lie = lie_of_run()
    if vm != "build-vm" and not lie.startswith("windows"):
        lie = ""
    if lie == "ended before it began":
        sockets["channel1"].sendall(b"started\nexited 0\n")
        time.sleep(600)
    if lie == "events without end":
        sockets["channel1"].sendall(b"started\n" * 1000)
        time.sleep(600)
    sockets["console"].sendall(b"starting Packer\n")
    sockets["channel1"].sendall(b"started\n")
    packer = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, "packer", vm, lie],
        stdin=subprocess.DEVNULL,
        stdout=sockets["channel0"],
        stderr=subprocess.DEVNULL,
    )
    ended = os.pidfd_open(packer.pid)
    while ended not in select.select([monitor.plug, ended], [], [])[0]:
        monitor.asked()
    status = packer.wait()
    if lie == "never ended":
        time.sleep(600)
    sockets["channel1"].sendall(f"peak 1234\nexited {status if status >= 0 else 128 - status}\n".encode())


def packer(vm: str, lie: str) -> None:
    """What Packer says as it works through the steps of a VM; `lie` is how it departs from that."""

    def say(text: str, kind: str = "say") -> None:
        record = f"{int(time.time())},,ui,{kind},{text.replace(',', '%!(PACKER_COMMA)')}\n"
        os.write(1, record.encode())

    customizes, is_windows = vm == "build-vm", lie.startswith("windows")
    login, script = ("WinRM", "powershell") if is_windows else ("SSH", "shell")
    say(f"==> null: Waiting for {login} to become available...")
    hold("ssh" if customizes else "-")
    while not os.path.exists(f"{FOLDER}/{vm}.power"):  # noqa: PTH110
        time.sleep(0.01)
    while customizes and lie == "windows that is never ready":
        time.sleep(600)  # as long as Packer tries
    say(f"==> null: Connected to {login}!")
    hold("connected" if customizes else "-")
    with open(f"{FOLDER}/steps-{vm}") as file:  # noqa: PTH123
        steps = file.read().split()
    told = list(enumerate(steps))
    if lie == "a step left out":
        del told[1]
    if lie == "steps in another order":
        told = [told[1], told[0], *told[2:]]
    if lie == "a step too many":
        told.append((len(steps), "shell"))
    if lie == "ended at the first step":
        del told[1:]
    while lie == "a log without end":
        say("    null: " + "x" * 4000, kind="message")
    for index, step in told:
        say(f"==> null: Provisioning with {script} script: /aib/packerInput/{index:04}-{step}.sh")
        say(f"    null: step {index} of {vm}", kind="message")
        hold(f"{vm} {index}")
    if customizes and lie not in {"ended at the first step", "a VM that is on"}:
        with open(f"{FOLDER}/{vm}.power", "w") as button:  # noqa: PTH123
            button.write("off")


def main(arguments: list[str]) -> None:
    if arguments[0] == "packer":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # it is inside the container group
        packer(arguments[1], arguments[2])
        return
    name = arguments[arguments.index("-name") + 1]
    (container_group if name.startswith("container-") else build_vm)(name, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
