"""Runs one script inside the build VM, in Packer's place: `python3 -I -S -c TEXT SCRIPT DEFAULT CHECKPOINT`.

Packer carries each line of a script by a call of its own, which under emulation makes a talkative step hundreds of
times slower than its VM. So lines travel here many at once, in records that `packer_output.py` takes apart. It also
tells what Packer cannot: whether the script ended, or the VM went away under it; what it left running; and that a
restart is on its way, for which it waits, so that the next step does not begin in a VM that is going down.

A record is a line that begins with the byte 0x1e and a letter (the constants below). It needs Python 3.5 or newer,
which every VM with cloud-init has, and only modules that are built into the interpreter, for those cost no time.
"""

import _signal  # type: ignore[import-not-found]  # `signal` takes as long as all the rest to load
import posix
import select
import sys
import time

MARK = b"\x1e"
STARTED, ENDED, MISSING = b"s", b"e", b"m"  # with the boot's id, the exit status, nothing
RESTARTING, REMARK = b"r", b"w"  # with nothing, a sentence for the log
WAITS, GOES_ON = b"k", b"g"  # at a checkpoint, with the name under which the VM waits; behind it, with nothing
LINES, LONG_LINE = b"l", b"o"  # lines with `NEXT` between them, one line as it is
NEXT, OWN_MARK = MARK + b"n", MARK + b"m"
RETURN = MARK + b"c"  # Packer leaves out what stands before a carriage return; the log keeps it

BATCH_BYTES = 8 * 1024  # times 16, for what Packer makes of a comma, it is still a line that we read in one piece
PAUSE_SECONDS = 0.05  # between two batches
LOOK_SECONDS = 0.25
SILENT_SECONDS = 2.0  # so long nothing is said about waiting
LEFT_SECONDS = 120.0  # for what the script left running that keeps its output open, or is a script itself
RESTART_SECONDS = 300.0
AFTERMATH_SECONDS = 4.0  # between the end of a script that was left running and what it set going
LAST_SECONDS = 5.0  # between the signal that ends this, when the VM goes down, and the end
# in the background these are a script that goes on, such as one that restarts the VM soon; others are daemons
SCRIPTS = frozenset(
    b"sh bash dash sleep sudo su env nohup setsid timeout reboot shutdown systemctl poweroff halt".split()
)
OWN_DEPROVISIONING = "/tmp/DeprovisioningScript.sh"  # noqa: S108 (Azure's name)
SCHEDULED = "/run/systemd/shutdown/scheduled"
INHIBITORS = "/run/systemd/inhibit"
BUS = "/run/dbus/system_bus_socket"
GOING_DOWN = (b"reboot.target", b"poweroff.target", b"halt.target", b"kexec.target", b"shutdown.target")
KILLED = (129, 137, 143)  # by SIGHUP, SIGKILL, SIGTERM
NOT_FOUND, NOT_EXECUTABLE, ENOENT, ENOEXEC = 127, 126, 2, 8


def content(path: "str | bytes") -> bytes:
    """A file's bytes; none when it cannot be read."""
    try:
        file = posix.open(path, posix.O_RDONLY)
    except OSError:
        return b""
    try:
        return to_its_end(file)
    except OSError:
        return b""
    finally:
        posix.close(file)


def to_its_end(file: int) -> bytes:
    """All that is still to be read."""
    parts = [posix.read(file, 65536)]
    while parts[-1]:
        parts.append(posix.read(file, 65536))
    return b"".join(parts)


def write(target: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[posix.write(target, data) :]


def say(kind: bytes, text: bytes = b"") -> None:
    """One record."""
    write(1, MARK + kind + text.replace(b"\n", b" ") + b"\n")


class Stream:
    """What the script writes to one of its two outputs, on its way to Packer's."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.pending = b""
        self.is_long = False  # the beginning of this line is already away

    def send(self, more: bytes = b"", *, is_last: bool = False) -> None:
        """Pass on all whole lines, and at the end what is behind them."""
        self.pending += more
        while self.pending:
            if self.is_long:
                line, end, self.pending = self.pending.partition(b"\n")
                write(self.target, line.replace(b"\r", RETURN) + end)
                self.is_long = not end
                continue
            cut = self.pending.rfind(b"\n", 0, BATCH_BYTES) + 1
            if not cut and len(self.pending) >= BATCH_BYTES:
                write(self.target, MARK + LONG_LINE)
                self.is_long = True
                continue
            if not cut and not is_last:
                return
            lines = self.pending[: cut or BATCH_BYTES].split(b"\n")
            if not lines[-1]:
                lines.pop()
            self.pending = self.pending[cut or BATCH_BYTES :]
            write(self.target, MARK + LINES + NEXT.join([cleaned(line) for line in lines]) + b"\n")
        if is_last and self.is_long:
            write(self.target, b"\n")


def cleaned(line: bytes) -> bytes:
    """A line as it travels: without the end that Packer would leave out, and without what it would obey."""
    return line.rstrip().replace(MARK, OWN_MARK).replace(b"\r", RETURN)


def of_this_login() -> "set[bytes]":
    """The processes of the control group that systemd gives to ssh logins; none where there is none."""
    for line in content("/proc/self/cgroup").split(b"\n"):
        number, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if len(path) > 1 and (number == b"0" or controllers == b"name=systemd"):
            base = b"/sys/fs/cgroup" if number == b"0" else b"/sys/fs/cgroup/systemd"
            return set(content(base + path + b"/cgroup.procs").split())
    return set()


def name_of(process: bytes) -> bytes:
    """A process's name; none when it is gone."""
    return content(b"/proc/" + process + b"/comm").strip()


def names(processes: "set[bytes]") -> bytes:
    """Processes for the log."""
    found = [name_of(process) + b" (" + process + b")" for process in sorted(processes, key=int)]
    return b", ".join(found[:5]) or b"a process"


def run(script: str) -> None:
    """Become the script, as a shell would run it: a text without a first line for the kernel goes to the shell."""
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # the interpreter ignores these two
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        posix.execv(script, [script])
    except OSError as error:
        if error.errno == ENOEXEC:
            shell = posix.environ.get(b"SHELL", b"/bin/sh")
            posix.execv(shell, [shell, script.encode()])
        write(2, ("%s: %s\n" % (script, error.strerror)).encode())  # noqa: UP031 (for Python 3.5)
        posix._exit(NOT_FOUND if error.errno == ENOENT else NOT_EXECUTABLE)


def output_of(command: "list[str]") -> "tuple[int, bytes]":
    """The exit status of a program, and what it prints; 127 when there is none of that name."""
    reading, writing = posix.pipe()
    child = posix.fork()
    if child == 0:
        try:
            posix.dup2(writing, 1)
            nowhere = posix.open("/dev/null", posix.O_RDWR)
            posix.dup2(nowhere, 0)
            posix.dup2(nowhere, 2)
            for folder in ("/usr/bin/", "/bin/"):
                try:
                    posix.execv(folder + command[0], command)
                except OSError:
                    continue
        finally:
            posix._exit(NOT_FOUND)
    posix.close(writing)
    text = to_its_end(reading)
    posix.close(reading)
    return posix.waitpid(child, 0)[1], text


def exists(path: str) -> bool:
    """Whether there is such a file."""
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def is_going_down() -> bool:
    """Whether systemd is about to restart the VM, or to turn it off.

    A login outlives most of a shutdown where no session of systemd holds it.
    """
    if not exists("/run/systemd/system"):
        return exists("/run/nologin")
    if name_of(b"1").startswith(b"systemd-shutdow") or exists("/run/nologin"):
        return True
    asked = ["systemctl", "list-jobs", "--no-legend", "--no-pager", "--full"]
    status, jobs = output_of(asked if exists(BUS) else ["sudo", "-n"] + asked)  # noqa: RUF005 (for Python 3.5)
    for line in jobs.split(b"\n"):
        words = line.split()
        if len(words) >= 3 and words[1] in GOING_DOWN and words[2] == b"start":
            return True
    if status != 0 and exists(BUS):
        return True  # whoever could tell has been stopped already
    try:
        is_delayed = bool(posix.listdir(INHIBITORS))
    except OSError:
        is_delayed = False
    if is_delayed:
        login, place = "org.freedesktop.login1", "/org/freedesktop/login1"
        asked = ["busctl", "get-property", login, place, login + ".Manager", "PreparingForShutdown"]
        return output_of(asked)[1].split() == [b"b", b"true"]
    return False


def seconds_until_scheduled() -> "float | None":
    """When `shutdown` will restart the VM or turn it off; none when it will not."""
    for line in content(SCHEDULED).split(b"\n"):
        name, _, value = line.partition(b"=")
        if name == b"USEC" and value.isdigit():
            return max(0.0, int(value) / 1e6 - time.time())
    return None


def wait_for_restart(patience: float = 0.0) -> None:
    """Wait for a restart that is on its way, or comes within `patience`; the VM takes this process with it."""
    scheduled = seconds_until_scheduled()
    until = time.monotonic() + patience
    while scheduled is None and time.monotonic() < until and not is_going_down():
        time.sleep(LOOK_SECONDS)
        scheduled = seconds_until_scheduled()
    if scheduled is not None and scheduled > RESTART_SECONDS:
        say(REMARK, b"a shutdown is scheduled in %d s, which is not waited for" % int(scheduled))
        return
    if scheduled is None and not is_going_down():
        return
    say(RESTARTING)
    until = time.monotonic() + RESTART_SECONDS + (scheduled or 0.0)
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if scheduled is not None and seconds_until_scheduled() is None and not is_going_down():
            return  # it was called off
    say(REMARK, b"the VM did not go down within %d s; going on" % int(RESTART_SECONDS))


def started(script: str) -> "tuple[int, dict[int, Stream]]":
    """The script's process, and where what it writes is read."""
    outputs, errors = posix.pipe(), posix.pipe()
    child = posix.fork()
    if child == 0:
        try:
            posix.dup2(outputs[1], 1)
            posix.dup2(errors[1], 2)
            run(script)
        finally:
            posix._exit(NOT_EXECUTABLE)
    posix.close(outputs[1])
    posix.close(errors[1])
    return child, {outputs[0]: Stream(1), errors[0]: Stream(2)}


def status_of(child: int, *, is_waited_for: bool) -> "int | None":
    """The exit status of a process as a shell tells it; none while it runs."""
    process, result = posix.waitpid(child, 0 if is_waited_for else posix.WNOHANG)
    if process == 0:
        return None
    return 128 + posix.WTERMSIG(result) if posix.WIFSIGNALED(result) else posix.WEXITSTATUS(result)


def pass_on(streams: "dict[int, Stream]", seconds: float, due: float) -> float:
    """Pass on what was written, but not before `due`; wait for it so long. Returns when the next is due.

    What comes within a short while goes together.
    """
    readable = select.select(list(streams), [], [], seconds)[0]
    if not readable:
        return due
    time.sleep(max(0.0, due - time.monotonic()))
    for source in readable:
        data = posix.read(source, 65536)
        if data:
            streams[source].send(data)
        else:
            streams.pop(source).send(is_last=True)
    return time.monotonic() + PAUSE_SECONDS


def passed_on(script: str) -> "tuple[int, bool]":
    """Run the script and pass on its output, and for a while that of the processes it left running.

    Its status, and whether it left a script running.
    """
    before = of_this_login()
    child, streams = started(script)
    status, due = None, 0.0
    while status is None:
        if streams:
            due = pass_on(streams, LOOK_SECONDS, due)
        status = status_of(child, is_waited_for=not streams)
    ended = time.monotonic()
    own = {str(posix.getpid()).encode(), str(child).encode()}
    is_told = has_left = False
    # also one that has not become its program yet, or never will: a part of the script itself (15 letters: proc(5))
    going_on = SCRIPTS | {script.rpartition("/")[2].encode()[:15]}
    while True:
        if streams:
            due = pass_on(streams, 0.0, due)
        left = of_this_login() - before - own
        has_scripts = any(name_of(process) in going_on for process in left)
        has_left = has_left or has_scripts
        if not streams and not has_scripts:
            return status, has_left
        waited = time.monotonic() - ended
        if waited > LEFT_SECONDS:
            say(REMARK, b"what the script left running goes on, and is waited for no longer: " + names(left))
            for stream in streams.values():
                stream.send(is_last=True)
            return status, True
        if waited > SILENT_SECONDS and not is_told:
            is_told = True
            held = b", which keeps its output open" if streams else b""
            text = b"the script has ended; waiting up to %d s for what it left running%s: %s"
            say(REMARK, text % (int(LEFT_SECONDS), held, names(left)))
        if streams:
            due = pass_on(streams, LOOK_SECONDS, due)
        else:
            time.sleep(LOOK_SECONDS)


def put_default(script: str, text: str) -> None:
    """Lay the default deprovisioning script where customizers look for it, once after each start of the VM."""
    for path, content_of_it in ((script.rpartition("/")[0] + "/.deprovisioning", ""), (OWN_DEPROVISIONING, text)):
        try:
            file = posix.open(path, posix.O_CREAT | posix.O_EXCL | posix.O_WRONLY, 0o755)
        except OSError:
            return
        write(file, content_of_it.encode())
        posix.close(file)


def what_is_free() -> bytes:
    """Memory and disk of the VM that are free, in MiB, for the log of a script that failed."""
    memory = {}
    for line in content("/proc/meminfo").split(b"\n"):
        name, _, value = line.partition(b":")
        if value.split()[:1] and value.split()[0].isdigit():
            memory[name] = int(value.split()[0]) // 1024
    disk = posix.statvfs("/")
    mib = 1024 * 1024
    free, size = disk.f_bavail * disk.f_frsize // mib, disk.f_blocks * disk.f_frsize // mib
    text = b"the VM has %d of %d MiB of memory free, and %d of %d MiB of its disk"
    return text % (memory.get(b"MemAvailable", 0), memory.get(b"MemTotal", 0), free, size)


def wait_at(checkpoint: str, script: str) -> None:
    """Run the text of a checkpoint, which waits until the host has saved the VM, and pass on what is wrong.

    It waits under a name that is drawn each time: so what it says elsewhere is never taken for another step's.
    """
    name = "".join("%02x" % byte for byte in posix.urandom(8))  # noqa: UP031 (for Python 3.5)
    say(WAITS, name.encode())
    given = {"script": script, "name": name, "output_of": output_of}
    try:
        exec(checkpoint, given)  # noqa: S102 (our own text, as this is)
        said = given["said"]
    except Exception as error:
        said = ("the VM cannot be kept here: %s" % error).encode()  # noqa: UP031 (for Python 3.5)
    if isinstance(said, bytes) and said:
        say(REMARK, said)
    say(GOES_ON)


def main(script: str, default: str, checkpoint: str = "") -> int:
    """Run the script, and behind it what waits at a checkpoint; the script's exit status."""
    if default:
        put_default(script, default)
    say(STARTED, content("/proc/sys/kernel/random/boot_id").strip())
    if not exists(script):
        say(MISSING)
        return NOT_FOUND
    _signal.signal(_signal.SIGTERM, ended_with_vm)
    status, has_left = passed_on(script)
    if status in KILLED and is_going_down():
        wait_for_restart()  # the signal was the VM's, and what the script's status would have been is not known
    if status != 0:
        say(REMARK, what_is_free())
    say(ENDED, b"%d" % status)
    if status == 0:
        wait_for_restart(AFTERMATH_SECONDS if has_left else 0.0)
        if checkpoint:
            wait_at(checkpoint, script)
    return status


def ended_with_vm(_number: int, _frame: object) -> None:
    """All processes are ended, for the VM goes down: no status is told, and Packer sees the connection end."""
    time.sleep(LAST_SECONDS)
    posix._exit(NOT_EXECUTABLE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
