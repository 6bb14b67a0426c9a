"""Inside a build VM that is saved, so that others go on from there: waits at the end of its boot, then makes it another.

Python of the guest runs this file, so it needs nothing but the standard library of 3.6, and systemd.

It stops what has keys, random numbers or dates of its own: the ssh server and the timers. Then it waits until the
network is pulled out, which the host does before it saves the VM, and until it is plugged in, which the host does when
one goes on. First then come new random numbers from the host, at once taken; then the time, the boot id, the machine
id, and what the run's own seed says: who may log in, and the ssh server's key. What it cannot do, it says on the
console, and the host boots the VM instead. Whatever it leaves is in memory.

In a build that is kept at checkpoints it stays, with the run's token from the seed's disk; with `TOKEN` it is begun
there. It is of no unit and has no file then, takes no time, and hears at a door that no file is, either. What runs a
customizer's script knocks with a name, which is drawn for each time, and waits; Packer is logged in, and its network
stays. It says the name on the console. The host says by a word on the seed's disk, in a place that no file has, how it
goes on: as the VM that it was, or, when the word is not this run's, as another, which ends Packer's connection with all
below it, and takes its script away.
Source: random(4), RNDRESEEDCRNG; sd-id128(3); cloud-init's NoCloud; unix(7), abstract addresses; cgroups(7).
"""

import _socket  # `socket` takes long to load
import fcntl
import mmap
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Door = Any  # typeshed has nothing of `_socket`

SAYS = "vmkiln-renewal:"
CONSOLES = ("/dev/ttyS0", "/dev/ttyAMA0", "/dev/console")
FOLDER = "/run/vmkiln"
SEED = "/dev/disk/by-label/cidata"
BLOCKS = "/sys/bus/virtio/devices/%s/block/*"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
RNDRESEEDCRNG = 0x5207
RANDOM_BYTES = 1024
RESTARTED = ("systemd-journald.service", "systemd-networkd.service", "NetworkManager.service")
NETWORK_SECONDS = 30
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/etc/systemd/system.control",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.control",
    "/run/systemd/system.attached",
    "/run/systemd/transient",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
SSH_UNITS = ("ssh.socket", "sshd.socket", "ssh.service", "sshd.service")
SERVICES = ("/sys/fs/cgroup/system.slice/", "/sys/fs/cgroup/systemd/system.slice/")  # those that run
NETWORK_SECRET = "/var/lib/NetworkManager/secret_key"  # made anew by its program, which is started anew
BOOT_FINISHED = "/var/lib/cloud/instance/boot-finished"
TICK_SECONDS = 0.01
BOOT_SECONDS = 1200
SECTOR_BYTES, VOLUME_SECTOR, IS_FOLDER = 2048, 16, 2  # of an ISO 9660 image
MOST_SEED_BYTES = 1024 * 1024  # of one of its files
USER_DATA = b"#cloud-config"
BLKFLSBUF = 0x1261
MS_BIND = 4096
STAMPS = "/var/lib/systemd/timers/stamp-%s"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
TELLS_ID = rb"%[mb]"  # the specifiers of the machine's and the boot's id
WORD_PLACE, WORD_BYTES = 16384, 4096  # in the system area of an ISO 9660 image, which no program reads
WORD_SECONDS = 300
DOOR = "vmkiln-%s"  # an abstract address, which no file is
VISIT_SECONDS = 5.0  # in which who knocks says why
NAME_LETTERS = 16
SCRIPTS = "/run/packer/"  # in memory, where Packer's are
ROOT_GROUPS = ("/sys/fs/cgroup/systemd/cgroup.procs", "/sys/fs/cgroup/cgroup.procs")


def load_the_rest() -> None:
    """What takes longer to load than all else: at a checkpoint Packer waits, and most VMs go on as they were."""
    global ctypes, glob, json, re, shutil, signal, subprocess, uuid
    import glob
    import json
    import re
    import shutil
    import signal
    import subprocess
    import uuid

    try:
        import ctypes
    except ImportError:  # a Python without it: programs mount then
        ctypes = None


def main(arguments: "tuple[str, ...]" = ()) -> int:
    """Wait, renew, and say how it went."""
    if arguments:
        return stay(*arguments)
    load_the_rest()
    try:
        seed, carrier, those = get_ready()
        had_route = has_route()
        say("ready")
        wait_for(lambda: not is_plugged_in(carrier), BOOT_SECONDS, "the network was not pulled out")
        say("unplugged")
        while not is_plugged_in(carrier):
            time.sleep(TICK_SECONDS)
        become_another(seed, those, had_route=had_route)
    except Exception as error:
        say("cannot: %s" % " ".join(str(error).split()))
        return 1
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    token = token_of(seed)
    return stay(token) if token else 0


class Units:
    """What systemd runs: what is to be started anew, what was stopped, and whether it has to be started anew itself.

    `elapses` is when timers by the calendar would elapse next, in seconds of this clock.
    """

    def __init__(
        self,
        services: "list[str]",
        ssh: "list[str]",
        timers: "list[str]",
        *,
        tell_ids: bool,
        elapses: "dict[str, float] | None" = None,
    ) -> None:
        self.services = services
        self.ssh = ssh
        self.timers = timers
        self.tell_ids = tell_ids
        self.elapses = elapses or {}


def stay(token: str) -> int:
    """Be there for the checkpoints of this run, one after the other, until the VM restarts or is no other machine."""
    door = opened(token)
    remove_folder()
    leave_unit()
    while token:
        visitor = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, door._accept()[0])
        try:
            visitor.settimeout(VISIT_SECONDS)
            name, _, script = visitor.recv(4096).decode().strip().partition(" ")
            if len(name) != NAME_LETTERS or not name.isalnum():
                continue
            after = at_checkpoint(token, script, name)
            if after != token:
                door.close()
                token = after
                if token:
                    door = opened(token)
            else:
                visitor.sendall(b"on")
        except (OSError, ValueError):  # it has ended, or says nothing
            continue
        finally:
            visitor.close()
    return 1


def opened(token: str) -> "Door":
    """The door of this run's, which nobody else has. Raises: `OSError`."""
    door = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    door.bind(b"\0" + (DOOR % token).encode())
    door.listen(8)
    return door


def leave_unit() -> None:
    """Go on as a process of no unit, which ends: no customizer finds one of ours, and none that it stops is this."""
    try:
        for path in ROOT_GROUPS:
            if os.path.exists(path):
                with open(path, "w") as group:
                    group.write("0")
    except OSError:
        return  # it stays in its unit
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def token_of(seed: str) -> str:
    """The token of the run that has this seed now; '' when it keeps nothing."""
    words = word_on("/dev/" + os.path.basename(glob.glob(BLOCKS % seed)[0])).split()
    return words[0] if len(words) == 2 else ""


def at_checkpoint(token: str, script: str, name: str) -> str:
    """Wait until the host has saved the VM, or has not; become another when this is one that goes on from there.

    Gives the token of the run that the VM is of then; '' for one that could not become another, or keeps nothing.
    """
    refusal = "skipped %s" % name
    try:
        seed, _ = what_is_needed()
        if not any(os.path.exists(path + unit) for path in SERVICES for unit in SSH_UNITS):
            load_the_rest()
            units()  # started by a socket, or none
        disk = os.path.realpath(SEED)
        had_route = has_route()
        say("ready %s" % name)
        if goes_on_as_it_was(disk, token, name):
            catch_up()
            return token
        refusal = "cannot"
        reseed()
        load_the_rest()
        os.makedirs(FOLDER, 0o700, exist_ok=True)
        those = units()
        run("systemctl", "stop", *(those.timers + those.ssh))
        end_logins()
        if script.startswith(SCRIPTS) and ".." not in script:
            os.unlink(script)
        become_another(seed, those, had_route=had_route)
        return token_of(seed)
    except Exception as error:
        say("%s: %s" % (refusal, " ".join(str(error).split())))
        return "" if refusal == "cannot" else token
    finally:
        remove_folder()


def remove_folder() -> None:
    """Leave nothing in memory either."""
    for folder, folders, files in os.walk(FOLDER, topdown=False):
        for remove, names in ((os.unlink, files), (os.rmdir, folders)):
            for name in names:
                try:
                    remove(os.path.join(folder, name))
                except OSError:  # something is mounted there
                    continue
    try:
        os.rmdir(FOLDER)
    except OSError:
        return


def goes_on_as_it_was(disk: str, token: str, name: str) -> bool:
    """Wait for the host's word, `TOKEN NAME`; whether it is for this very run, and so for this very time."""
    deadline = time.monotonic() + WORD_SECONDS
    while True:
        words = word_on(disk).split()
        if len(words) == 2 and (words[0] != token or words[1] == name):
            return words[0] == token
        if time.monotonic() > deadline:
            raise RuntimeError("the host said nothing")
        time.sleep(TICK_SECONDS)


def catch_up() -> None:
    """Give the time that it stood still to a VM that goes on as it was: only the hardware clock went on."""
    now = int(text_of(clock()))
    if now > time.time() + 1:
        time.clock_settime(time.CLOCK_REALTIME, now)


def word_on(disk: str) -> str:
    """What the host wrote on the seed's disk: read from there, and not from what the kernel remembers of it."""
    descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, WORD_BYTES) as block:
            os.lseek(descriptor, WORD_PLACE, os.SEEK_SET)
            os.readv(descriptor, [block])
            return bytes(block[:]).rstrip(b"\0").decode("ascii", "replace")
    finally:
        os.close(descriptor)


def end_logins() -> None:
    """End the connections of ssh with all below them, which are of the VM that this one was."""
    children = {}  # type: dict[int, list[int]]
    ended = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            before, _, after = text_of(path).rpartition(")")
        except OSError:  # it has ended
            continue
        process, _, name = before.partition(" (")
        children.setdefault(int(after.split()[1]), []).append(int(process))
        if name.startswith("sshd"):
            ended.append(int(process))
    for process in ended:
        ended += [child for child in children.get(process, ()) if child not in ended]
    for process in ended:
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:  # it has ended
            continue


def become_another(seed: str, those: Units, *, had_route: bool) -> None:
    """Make this VM another, start anew what was it, and say that it is; until then the host has no customizer begin.

    systemd itself goes on, unless a unit of it tells an id that it may have read: its random numbers are the kernel's.
    """
    old_id = renew(seed)
    if those.tell_ids:
        run("systemctl", "daemon-reexec")
    run("systemctl", "restart", *(those.services + those.ssh))  # in one call, for each is a program that is loaded
    without_journal(old_id)
    wait_for(lambda: has_route() or not had_route, NETWORK_SECONDS, "the network did not come back")
    say("renewed")
    go_on(those)


def say(text: str) -> None:
    """A line on the first console that takes it."""
    for path in CONSOLES:
        try:
            with open(path, "w") as console:
                console.write("\n%s %s\n" % (SAYS, text))
            return
        except OSError:
            continue


def run(*command: str) -> str:
    """What a command prints. Raises: `OSError`, `RuntimeError` with what it complained of."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if ended.returncode != 0:
        raise RuntimeError("`%s`: %s" % (" ".join(command), ended.stderr.decode(errors="replace").strip()))
    return ended.stdout.decode(errors="replace")


def wait_for(is_so: "Callable[[], object]", seconds: float, otherwise: str) -> None:
    """Look until it is so. Raises: `RuntimeError` with what is `otherwise`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(TICK_SECONDS)


def get_ready() -> "tuple[str, str, Units]":
    """Wait for the end of the boot, and stop what has secrets or dates of its own.

    Gives the seed's place on its bus, the file that tells whether the network is plugged in, and the units.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    while not os.path.exists(BOOT_FINISHED):
        if time.monotonic() > deadline:
            raise RuntimeError("cloud-init did not end")
        time.sleep(0.2)
    subprocess.run(("systemctl", "is-system-running", "--wait"), stdout=subprocess.DEVNULL, check=False)
    seed, carrier = what_is_needed()
    those = units()
    run("systemctl", "stop", *(those.timers + those.ssh))
    os.sync()
    return seed, carrier, those


def what_is_needed() -> "tuple[str, str]":
    """The first two of these; starts no program. Raises: `RuntimeError` for what keeps a VM from becoming another."""
    fresh_bytes(16)
    int(text_of(clock()))
    seed = os.path.basename(os.path.realpath("/sys/class/block/%s/device" % os.path.basename(os.path.realpath(SEED))))
    if not os.path.exists("/sys/bus/virtio/drivers/virtio_blk/%s" % seed):
        raise RuntimeError("the seed is not on a disk of virtio")
    places = [os.path.join("/sys/class/net", name) for name in os.listdir("/sys/class/net")]
    carriers = [os.path.join(place, "carrier") for place in places if os.path.exists(os.path.join(place, "device"))]
    if len(carriers) != 1:
        raise RuntimeError("there are %d networks" % len(carriers))
    return seed, carriers[0]


def units() -> Units:
    """Those that matter. Raises: `RuntimeError` without ssh."""
    said = run("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "--type=timer,service,socket")
    active = [line.split()[0] for line in said.splitlines() if line.strip()]
    timers = [unit for unit in active if unit.endswith(".timer")]
    ssh = [unit for unit in SSH_UNITS if unit in active]
    if not ssh:
        raise RuntimeError("there is no ssh server that systemd runs")
    services = [unit for unit in RESTARTED if unit in active]
    return Units(services, ssh, timers, tell_ids=is_told_by_units(), elapses=elapses_of(timers))


def elapses_of(timers: "list[str]") -> "dict[str, float]":
    """When those of them that go by the calendar elapse next, in seconds of this clock."""
    found = {}
    said = run("systemctl", "show", "--property=Id,NextElapseUSecRealtime", *timers) if timers else ""
    for block in said.split("\n\n"):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        date = re.search(DATE, told.get("NextElapseUSecRealtime", ""))
        if date:
            found[told.get("Id", "")] = time.mktime(time.strptime(date.group(), "%Y-%m-%d %H:%M:%S"))
    return found


def is_plugged_in(carrier: str) -> bool:
    """Whether the network device has a cable."""
    try:
        return text_of(carrier) == "1"
    except OSError:  # it is down
        return False


def text_of(path: str) -> str:
    """A short file's text."""
    with open(path) as file:
        return file.read().strip()


def clock() -> str:
    """The file of the hardware clock, which goes on while a VM does not; in seconds since 1970."""
    return "/sys/class/rtc/rtc0/since_epoch"


def fresh_bytes(count: int) -> bytes:
    """Random numbers of the host's."""
    with open("/dev/hwrng", "rb", buffering=0) as source:
        found = b""
        while len(found) < count:
            chunk = source.read(count - len(found))
            if not chunk:
                raise RuntimeError("/dev/hwrng has no random numbers")
            found += chunk
    return found


def has_route() -> bool:
    """Whether there is a way out (proc(5), /proc/net/route): one who saw the network pulled out may have taken it."""
    return any(line.split()[1] == "00000000" for line in text_of("/proc/net/route").splitlines()[1:])


def reseed() -> None:
    """New random numbers from the host, which the kernel uses at once."""
    fresh = fresh_bytes(RANDOM_BYTES)  # the driver may hold a few from before; what comes after them is new
    with open("/dev/urandom", "r+b", buffering=0) as pool:
        pool.write(fresh)
        fcntl.ioctl(pool, RNDRESEEDCRNG)


def renew(seed: str) -> str:
    """Make this VM another one than all that go on from the same; the order matters. Gives the machine id it had."""
    reseed()
    now = int(text_of(clock()))
    time.clock_settime(time.CLOCK_REALTIME, now)
    cover_boot_id()
    user_data = said_by(seed)
    login_keys = user_data["users"][0]["ssh_authorized_keys"]
    name = user_data["users"][0]["name"]
    old_id = replace_ids()
    replace_key("/home/%s/.ssh/authorized_keys" % name, login_keys[0])
    for path in glob.glob("/etc/ssh/ssh_host_*_key*"):
        os.unlink(path)
    write("/etc/ssh/ssh_host_ed25519_key", user_data["ssh_keys"]["ed25519_private"], 0o600)
    write("/etc/ssh/ssh_host_ed25519_key.pub", user_data["ssh_keys"]["ed25519_public"], 0o644)
    return old_id


def is_told_by_units() -> bool:
    """Whether a unit that systemd has loaded may tell the machine's or the boot's id, which systemd keeps once read.

    Source: systemd.unit(5), specifiers and the folders of units.
    """
    telling = []
    for folder in UNIT_FOLDERS:
        for path in glob.glob(folder + "/*.*") + glob.glob(folder + "/*.d/*.conf"):
            try:
                with open(path, "rb") as file:
                    if re.search(TELLS_ID, file.read().replace(b"%%", b"")):
                        telling.append(path[len(folder) + 1 :].partition(".d/")[0])
            except OSError:  # a folder, or a link to what is not there
                continue
    if not telling:
        return False
    said = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "--full")
    loaded = [line.split()[0] for line in said.splitlines() if line.strip()]
    for name in telling:
        before, _, _ = name.rpartition(".")
        if not before:
            return True  # beside all units of a kind
        if any(one == name or (before[-1] in "@-" and one.startswith(before)) for one in loaded):
            return True
    return False


def cover_boot_id() -> None:
    """Another boot id, over the kernel's; until the VM restarts, and has one of its own.

    One that this VM had as another goes away before: nothing can be mounted over a file that was deleted.
    """
    path = os.path.join(FOLDER, "boot-id")
    text = str(uuid.UUID(bytes=os.urandom(16), version=4)) + "\n"
    if ctypes is not None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(BOOT_ID.encode(), 0)
        write(path, text, 0o444)
        if libc.mount(path.encode(), BOOT_ID.encode(), None, ctypes.c_ulong(MS_BIND), None) != 0:
            raise RuntimeError("the boot id could not be covered: %s" % os.strerror(ctypes.get_errno()))
    else:
        subprocess.run(("umount", BOOT_ID), stderr=subprocess.DEVNULL, check=False)
        write(path, text, 0o444)
        run("mount", "--bind", path, BOOT_ID)
    if text_of(BOOT_ID) + "\n" != text:
        raise RuntimeError("the boot id is the one that it was")


def said_by(seed: str) -> "dict[str, Any]":
    """What the seed says that is in the drive now, read from its disk past all that the kernel remembers of another.

    The disk is neither taken anew nor mounted, for all that hears of disks would do its work again.
    Source: ECMA-119, volume descriptors and directory records.
    """
    disk = "/dev/" + os.path.basename(glob.glob(BLOCKS % seed)[0])
    descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    try:
        fcntl.ioctl(descriptor, BLKFLSBUF)
        root = read_at(descriptor, VOLUME_SECTOR, SECTOR_BYTES)[156:190]
        folder = read_at(descriptor, *place_of(root))
        at = 0
        while at < len(folder):
            length = folder[at]
            if length == 0:  # a record is in one sector
                at = (at // SECTOR_BYTES + 1) * SECTOR_BYTES
                continue
            record, at = folder[at : at + length], at + length
            if record[25] & IS_FOLDER:
                continue
            text = read_at(descriptor, *place_of(record))
            if text.startswith(USER_DATA):
                said: dict[str, Any] = json.loads(text.partition(b"\n")[2].decode())
                return said
        raise RuntimeError("the seed says nothing")
    finally:
        os.close(descriptor)


def place_of(record: bytes) -> "tuple[int, int]":
    """The first sector and the bytes of what a directory record is of. Raises: `RuntimeError` for more than we make."""
    first, size = int.from_bytes(record[2:6], "little"), int.from_bytes(record[10:14], "little")
    if size > MOST_SEED_BYTES:
        raise RuntimeError("the seed has a file of %d bytes" % size)
    return first, size


def read_at(descriptor: int, sector: int, count: int) -> bytes:
    """So many bytes of a disk that is read past the kernel's memory, in whole sectors. Raises: `RuntimeError`."""
    whole = -(-count // SECTOR_BYTES) * SECTOR_BYTES
    if not whole:
        return b""
    with mmap.mmap(-1, whole) as block:
        os.lseek(descriptor, sector * SECTOR_BYTES, os.SEEK_SET)
        if os.readv(descriptor, [block]) != whole:
            raise RuntimeError("the seed's disk is too short")
        return bytes(block[:count])


def mode_of(path: str, otherwise: int) -> int:
    """The permissions of a file that is there."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return otherwise


def replace_ids() -> str:
    """Another machine id, seed of random numbers for the next boot, and network secret; gives the id that it was."""
    old = text_of("/etc/machine-id")
    new = uuid.UUID(bytes=os.urandom(16), version=4).hex
    write("/etc/machine-id", new + "\n", mode_of("/etc/machine-id", 0o444))  # or the image would have another
    if os.path.isfile("/var/lib/dbus/machine-id") and not os.path.islink("/var/lib/dbus/machine-id"):
        write("/var/lib/dbus/machine-id", new + "\n", mode_of("/var/lib/dbus/machine-id", 0o444))
    if os.path.exists("/var/lib/systemd/random-seed"):
        write("/var/lib/systemd/random-seed", os.urandom(512), 0o600)
    if os.path.exists(NETWORK_SECRET):
        os.unlink(NETWORK_SECRET)
    return old


def without_journal(machine_id: str) -> None:
    """Take away what was written under another machine id; the one who writes has been started anew."""
    for root in ("/var/log/journal", "/run/log/journal"):
        shutil.rmtree(os.path.join(root, machine_id), ignore_errors=True)


def replace_key(path: str, key: str) -> None:
    """The run's login key in the place of the other one, with what stands before it."""
    kind, text = key.split()[:2]
    comment = key.rsplit(maxsplit=1)[-1]
    lines = text_of(path).splitlines()
    found = [line for line in lines if line.endswith(" " + comment)]
    if len(found) != 1:
        raise RuntimeError("%s has %d keys of a build" % (path, len(found)))
    before = found[0][: found[0].index(kind)]
    owner = os.stat(path)
    changed = ["%s%s %s %s" % (before, kind, text, comment) if line == found[0] else line for line in lines]
    write(path, "".join(line + "\n" for line in changed), 0o600)
    os.chown(path, owner.st_uid, owner.st_gid)


def write(path: str, content: "str | bytes", mode: int) -> None:
    """A file with this content, in one step, with the context that its place has."""
    data = content if isinstance(content, bytes) else content.encode()
    temporary = path + ".new"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
    os.replace(temporary, path)
    if os.path.exists("/sys/fs/selinux/enforce"):
        subprocess.run(("restorecon", path), check=False)


def go_on(those: Units) -> None:
    """Let the timers run, as if their work was done now: no time has passed for them.

    systemd reckons from a timer's stamp. One that has none is reckoned from when it last began, which was before the VM
    was saved: what should have come since then would come at once, and leave in the image what a VM that boots has not.
    Such a one begins with the next boot. Source: systemd's `timer_enter_waiting`.
    """
    for path in glob.glob(STAMPS % "*"):
        os.utime(path)
    now = time.time()
    timers = [
        timer
        for timer in those.timers
        if os.path.exists(STAMPS % timer) or not 0 < those.elapses.get(timer, 0) <= now
    ]
    if timers:
        run("systemctl", "start", *timers)


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
