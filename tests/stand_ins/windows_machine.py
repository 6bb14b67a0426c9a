"""What stands behind the WinRM double: files, a journal, restarts, and the few commands that Packer gives.

No PowerShell runs here. A script does what its comments tell (`# double: WORD ...`): `out TEXT`, `err TEXT`, `exit N`,
`sleep S`, `write PATH TEXT`, `reboot S` (the VM goes down at once, for so long), `cut fin` and `cut rst` (of the
connection). Scripts of ours are known by what stands in them, and are played.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LOST = 16001
DEPROVISIONING = "c:\\deprovisioningscript.ps1"


class Gone(Exception):
    """The VM went down, or the connection was cut, while a command ran."""


@dataclass
class Task:
    """One command that runs: what it has written and not been asked for, and its exit code."""

    pieces: list[tuple[str, bytes]] = field(default_factory=list)
    code: int | None = None
    is_gone: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def look(self, seconds: float) -> tuple[list[tuple[str, bytes]], int | None]:
        """What there is to be told, after at most so long."""
        with self.changed:
            self.changed.wait_for(lambda: self.pieces or self.code is not None or self.is_gone, seconds)
            if self.is_gone:
                raise Gone
            pieces, self.pieces = self.pieces, []
            return pieces, self.code

    def write(self, name: str, data: str) -> None:
        with self.changed:
            self.pieces.append((name, data.encode()))
            self.changed.notify_all()

    def finish(self, code: int | None, *, is_gone: bool = False) -> None:
        with self.changed:
            self.code, self.is_gone = code, is_gone
            self.changed.notify_all()


@dataclass
class WindowsMachine:
    """A VM that is none. `journal` has a line for each thing that was done; `resets` counts restarts.

    `down_seconds`: how long a restart takes. `update_rounds`: exit codes of the rounds of an update step, the last of
    them again and again. `disc`: names and content of the files disc.
    """

    down_seconds: float = 0.3
    in_progress: int = 0  # how often Packer hears 1115; -1: for ever
    restarts_twice: bool = False
    update_rounds: tuple[int, ...] = (3010, 0)
    disc: dict[str, bytes] = field(default_factory=dict)
    scripts: list[bytes] = field(default_factory=list)  # each that ran, byte for byte
    on_reset: Callable[[], None] = lambda: None
    on_off: Callable[[], None] = lambda: None
    on_deprovisioned: Callable[[], None] = lambda: None
    files: dict[str, bytes] = field(default_factory=lambda: {DEPROVISIONING: b"# the default\n"})
    folders: set[str] = field(default_factory=set)
    journal: list[str] = field(default_factory=list)
    resets: int = 0
    _down: Callable[[str], None] = lambda _how: None
    _up: Callable[[], None] = lambda: None
    _cut: Callable[[str], None] = lambda _how: None
    _tasks: list[Task] = field(default_factory=list)
    _pending: bool = False
    _has_ended: threading.Event = field(default_factory=threading.Event)

    def connect(self, *, down: Callable[[str], None], up: Callable[[], None], cut: Callable[[str], None]) -> None:
        """The service's own ends and beginnings."""
        self._down, self._up, self._cut = down, up, cut

    def end(self) -> None:
        self._has_ended.set()

    def note(self, text: str) -> None:
        self.journal.append(text)

    def begin(self, command: str) -> Task:
        """Run a command; its output and its end come by and by."""
        task = Task()
        self._tasks.append(task)

        def run() -> None:
            try:
                task.finish(self.run(command, task))
            except Gone:
                task.finish(None, is_gone=True)
            except Exception as error:  # a fault of the double's shall be seen, not waited for
                self.note(f"double failed: {error!r} in {command[:300]}")
                task.write("stderr", f"double: {error!r}\n")
                task.finish(99)

        threading.Thread(target=run, daemon=True).start()
        return task

    def run(self, command: str, task: Task, rights: str = "plain") -> int:
        """What a command does; its exit code."""
        if found := re.match(r'echo (\S+) >> "%TEMP%\\(winrmcp-[^"]+)"', command):
            self._append(found.group(2), found.group(1))
            return 0
        if found := re.search(r"(?i)^powershell(?:\.exe)? .*?-EncodedCommand (\S+)", command):
            return self._encoded(base64.b64decode(found.group(1)).decode("utf-16-le"), task)
        if found := re.search(r"-file \"?([^\"]+?)\"?$", command, re.IGNORECASE):
            return self._file(found.group(1), task, rights)
        if found := re.search(r"&'([^']+)'; exit", command):
            return self._guarded(found.group(1), command, task, rights)
        if command.startswith("shutdown"):
            return self._shutdown(command, task)
        if found := re.match(r"cmd /c if exist (\S+) \((.*?)\) else \(exit 0\)$", command):
            self.note(f"if exist {found.group(1)}: {_key(found.group(1)) in self.files}")
            return self._shutdown(found.group(2), task) if _key(found.group(1)) in self.files else 0
        return self._as_cmd(command, task)

    def _append(self, name: str, text: str) -> None:
        key = _key("%TEMP%\\" + name)
        self.files[key] = self.files.get(key, b"") + text.encode() + b"\n"

    def _encoded(self, text: str, task: Task) -> int:
        paths = re.findall(r'GetFullPath\("([^"]*)"', text)
        if len(paths) == 2:
            source, destination = _key(paths[0]), paths[1].strip("'")
            if _key(destination) in self.folders:
                return 1
            lines = self.files.get(source, b"").split(b"\n")
            self.files[_key(destination)] = b"".join(base64.b64decode(line) for line in lines)
            return 0
        if len(paths) == 1:
            self.files.pop(_key(paths[0]), None)
            return 0
        if "Test-Path" in text and "echo" not in text.lower():
            task.write("stdout", "False\r\n")
            return 0
        if found := re.search(r'echo \(?"([^"]*)"', text):
            task.write("stdout", found.group(1).replace("{0}", "build-vm") + "\r\n")
            return 0
        self.note(f"powershell: {text}")
        return 0

    def _file(self, path: str, task: Task, rights: str) -> int:
        text = self._text(path)
        if text is None:
            return -196608  # the number that PowerShell ends with when there is no such script
        if "Schedule.Service" in text:
            return self._elevated(text, task)
        return self._script(path, text, task, rights)

    def _guarded(self, path: str, command: str, task: Task, rights: str) -> int:
        mark = _key(path + ".ran")
        if f"'{path}.ran'" in command:
            if mark in self.files:
                self.note(f"ran already: {path}")
                return LOST
            self.files[mark] = b""
        text = self._text(path)
        return 1 if text is None else self._script(path, text, task, rights)

    def _elevated(self, text: str, task: Task) -> int:
        user = next(iter(re.findall(r'\$username = "([^"]*)"|<UserId>([^<]*)</UserId>', text)), ("", ""))
        arguments = re.search(r"<Arguments>(.*?)</Arguments>", text, re.DOTALL)
        inner = _plain(arguments.group(1)) if arguments else ""
        encoded = re.search(r"-EncodedCommand ([A-Za-z0-9+/=]+)", inner)
        command = base64.b64decode(encoded.group(1)).decode("utf-16-le") if encoded else inner
        found = re.search(r"&'([^']+)'; exit", command)
        if not found:
            self.note(f"elevated, not understood: {text[:2000]}")
            return 98
        return self._guarded(found.group(1), command, task, "SYSTEM" if "SYSTEM" in "".join(user) else "elevated")

    def _script(self, path: str, text: str, task: Task, rights: str) -> int:
        if laid := re.search(r"WriteAllBytes\('[^']+', \[Convert\]::FromBase64String\('([A-Za-z0-9+/=]+)'", text):
            inner = _data_of(base64.b64decode(laid.group(1)).decode()) or {}
            target = str(inner.get("destination"))
            code = self._copied(inner, task)
            return code or self._script(target, self._text(target) or "", task, rights)
        data = _data_of(text)
        if data is not None and "sha256" in data:
            return self._copied(data, task)
        if data is not None and "isLast" in data:
            return self._updated(data, task, rights)
        name = "deprovision" if "VMKILN-FINISH" in text else ("clean-up" if "packer-cleanup" in path else "script")
        if name == "clean-up":
            return 0
        if name == "deprovision":
            users = self._text(DEPROVISIONING)
            self.note(f"deprovision {rights}: {users}")
            if users is None:
                task.write("stdout", "the deprovisioning script is gone\r\n")
                return 1
            code = self._directives(users, task)
            if code == 0:
                self.on_deprovisioned()
            return code
        self.note(f"{name} {rights}: {len(text)} letters")
        self.scripts.append(self.files.get(_key(path), b""))
        return self._directives(text, task)

    def _directives(self, text: str, task: Task) -> int:
        code = 0
        for word, rest in re.findall(r"# double: (\w+) ?(.*)", text):
            match word:
                case "out" | "err":
                    task.write("stdout" if word == "out" else "stderr", rest.rstrip("\r") + "\r\n")
                case "flood":
                    task.write("stdout", "x" * int(rest))
                case "exit":
                    return int(rest)
                case "sleep":
                    time.sleep(float(rest))
                case "remove":
                    self.files.pop(_key(rest), None)
                case "write":
                    path, _, content = rest.partition(" ")
                    self.files[_key(path)] = content.strip().encode()
                case "reboot":
                    self._restart(float(rest), "fin")
                    raise Gone
                case "cut":
                    self._cut(rest.strip())
                    raise Gone
                case "off":
                    self.on_off()
                    self._down("fin")
                    raise Gone
        return code

    def _copied(self, data: dict[str, Any], task: Task) -> int:
        import hashlib

        content = self.disc.get(data["name"])
        if content is None:
            task.write("stdout", f"copying: no disc of this VM has the file {data['name']}\r\n")
            return 1
        if _key(data["destination"]) in self.folders:
            task.write("stdout", "copying: the destination is a folder: name the file in it\r\n")
            return 1
        if hashlib.sha256(content).hexdigest() != data["sha256"] or len(content) != data["bytes"]:
            task.write("stdout", "copying: what was copied has another SHA-256\r\n")
            return 1
        self.files[_key(data["destination"])] = content
        self.note(f"copied {data['name']} to {data['destination']}")
        return 0

    def _updated(self, data: dict[str, Any], task: Task, rights: str) -> int:
        done, restart, state = (_key(data["state"] + end) for end in (".done", ".restart", ".round"))
        self.files.pop(restart, None)
        if done in self.files:
            return 0
        if data["isLast"]:
            task.write("stdout", "WindowsUpdate: after all rounds 2 updates are left\r\n")
            return 1
        number = int(self.files.get(state, b"0"))
        self.files[state] = str(number + 1).encode()
        code = self.update_rounds[min(number, len(self.update_rounds) - 1)]
        self.note(f"update round {number + 1} {rights}: {code} {data['criteria']} {data['filters']} {data['limit']}")
        task.write("stdout", f"update 1/1 installed KB1 1024 KB 0x00000000 round {number + 1}\r\n")
        if code in (0, 3010):
            self.files[restart if code else done] = b""
        return code

    def _shutdown(self, command: str, task: Task) -> int:
        del task
        if "/a" in command.split():
            self._pending = False
            return 0
        if "packer restart test" in command:
            if self.in_progress:
                self.in_progress -= 1 if self.in_progress > 0 else 0
                return 1115
            return 1190 if self._pending else 0
        self.note(command)
        if self.in_progress == -1:
            return 0  # it never goes down
        self._pending = True
        wait = re.search(r"/t (\d+)", command)
        # Windows takes the whole time, and seconds to stop its services where that is none
        seconds = max(0.5, min(int(wait.group(1)), 1.0)) if wait else 0.5
        threading.Thread(target=self._restart_later, args=(seconds,), daemon=True).start()
        return 0

    def _restart_later(self, seconds: float) -> None:
        if self._has_ended.wait(seconds):
            return
        self._restart(self.down_seconds, "rst")
        if self.restarts_twice:
            self.restarts_twice = False
            if not self._has_ended.wait(self.down_seconds + 0.3):
                self._restart(self.down_seconds, "rst")

    def _restart(self, seconds: float, how: str) -> None:
        self.resets += 1
        self.note("reset")
        self._pending = False
        self.on_reset()
        for task in self._tasks:
            if task.code is None:
                task.finish(None, is_gone=True)
        self._tasks.clear()
        self._down(how)

        def come_back() -> None:
            if not self._has_ended.wait(seconds):
                self._up()

        threading.Thread(target=come_back, daemon=True).start()

    def _as_cmd(self, command: str, task: Task) -> int:
        """A user's restart check, as cmd.exe runs it: what is no program of its is an error."""
        self.note(f"cmd: {command}")
        word = command.split(maxsplit=1)[0].lower() if command.split() else ""
        text, _, target = command.partition(">")
        if word == "echo":
            if target.strip():
                self.files[_key(target.strip())] = text[5:].strip().encode()
            else:
                task.write("stdout", text[5:] + "\r\n")
            return 0
        if word in ("powershell", "powershell.exe", "exit", "cmd"):
            return 0
        task.write("stderr", f"'{word}' is not recognized as an internal or external command\r\n")
        return 1

    def _text(self, path: str) -> str | None:
        content = self.files.get(_key(path))
        return None if content is None else content.decode("utf-8-sig", errors="replace")


def _key(path: str) -> str:
    """A path as the file system tells files apart."""
    plain = path.strip("'\"").replace("/", "\\").lower()
    for name in ("%temp%", "${env:temp}", "$env:temp"):
        plain = plain.replace(name, "c:\\users\\packer\\appdata\\local\\temp")
    for name in ("%systemroot%", "${env:systemroot}", "$env:systemroot", "%windir%"):
        plain = plain.replace(name, "c:\\windows")
    return plain


def _plain(text: str) -> str:
    for name, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&#34;", '"'), ("&amp;", "&")):
        text = text.replace(name, letter)
    return text


def _data_of(text: str) -> dict[str, Any] | None:
    """The input of a script of ours; none for another's, and for one that only lays such a script down."""
    found = re.search(r"GetString\(\[Convert\]::FromBase64String\('([A-Za-z0-9+/=]+)'\)\)", text)
    if not found:
        return None
    try:
        data = json.loads(base64.b64decode(found.group(1)))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
