"""Mistakes that people make on the command line: each is told with what helps, ends with 2, and starts nothing."""

import copy
import errno
import io
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from vmkiln.cli import main

ROOT = Path(__file__).parents[3]
TEMPLATE: dict[str, Any] = {
    "type": "Microsoft.VirtualMachineImages/imageTemplates",
    "apiVersion": "2025-10-01",
    "name": "web",
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
    },
}
TEXTS = {
    "empty.json": "",
    "yaml.json": "location: westus2\n",
    "script.json": "#!/bin/sh\ntrue\n",
    "comma.json": '{\n  "location": "westus2"\n  "properties": {}\n}',
    "parameters.json": '{"parameters": {"unknown": {"value": 1}}}',
}
# the path of a member, what stands there by mistake, what is said of it
WRONG_MEMBERS = (
    (("properties", "customize", 0, "type"), "Shel", "did you mean `Shell`?"),
    (("properties", "distribute", 0, "type"), "ManagedImag", "did you mean `ManagedImage`?"),
    (("properties", "customize", 0, "inlin"), ["true"], "did you mean `inline`?"),
    (("properties", "vmProfile"), {"vmSize": "Standard_D2v2"}, "Standard_D2_v2"),
    (("properties", "source", "sku"), "12-gen3", "12-gen2"),
    (("properties", "source", "offer"), "debian-21", "debian-12"),
    (("properties", "buildTimeoutInMinutes"), 3, "properties.buildTimeoutInMinutes"),
    (
        ("properties", "customize", 0),
        {"type": "File", "sourceUri": "file:///x", "destination": "/tmp/x"},
        "local",
    ),
)
WRONG_WORDS = (
    (("validate", "nothing.json"), "there is no file"),
    (("validate", "."), "is a folder"),
    (("validate", "empty.json"), "empty.json"),
    (("validate", "yaml.json"), "it looks like YAML: give the file a name that ends in .yaml"),
    (("validate", "script.json"), "script.json:1:1: expected"),
    (("validate", "comma.json"), "comma.json:3:3: expected"),
    (("validate", "good.json", "--parameters", "parameters.json"), "unknown"),
    (("run", "show", "zzzz"), "`vmkiln run list`"),
    (("run", "logs", "zzzz"), "`vmkiln run list`"),
    (("staging", "show", "IT_nothing"), "`vmkiln staging list"),
    (("host", "show", "nobody"), "`vmkiln host list`"),
    (("image", "show", "nothing"), "`vmkiln image list`"),
    (("image", "boot", "nothing"), "`vmkiln image list`"),
    (("image", "verify"), "no image is named"),
    (("image", "warm", "Debian:debian-12:13x"), "did you mean Debian:"),
    (("prepare", "--platform-image", "Debian:debian-12:13x"), "did you mean Debian:"),
    (("context", "use", "nothing"), "`vmkiln login URL`"),
    (("role", "assign", "King", "x", "--scope", "/"), "Contributor"),
    (("explain", "properties.customise"), "properties.customize"),
    (("biuld", "good.json"), "build"),
    (("run", "lsit"), "list"),
    (("run", "list", "--jsno"), "--json"),
    (("rest", "FETCH", "/subscriptions"), "GET"),
    (("rest", "PUT", "/subscriptions/x", "--body", '{"location": "westus"}'), "--body takes the name of a JSON file"),
    (("rest", "PUT", "/subscriptions/x", "--body", "yaml.json"), "it is no JSON"),
    (("serve", "--listen", "127.0.0.1:99999"), "99999"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that is not there yet; the folder that commands work in has files with and without mistakes."""
    work = tmp_path / "work"
    work.mkdir()
    for name, text in {**TEXTS, "good.json": json.dumps(TEMPLATE)}.items():
        (work / name).write_text(text)
    monkeypatch.chdir(work)
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def told(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and what it says on standard error."""
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments))
    return int(ended.value.code or 0), capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "helps"), WRONG_WORDS, ids=lambda found: " ".join(found) if isinstance(found, tuple) else ""
)
@pytest.mark.usefixtures("home")
def test_a_mistaken_command_line_is_told_what_helps(
    words: tuple[str, ...], helps: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = told(capfd, *words)
    assert code == 2, text
    assert helps in text


@pytest.mark.parametrize(("path", "value", "helps"), WRONG_MEMBERS, ids=lambda found: str(found)[:40])
def test_a_mistaken_template_is_told_what_helps_before_anything_starts(
    path: tuple[str | int, ...], value: object, helps: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    template = copy.deepcopy(TEMPLATE)
    here: Any = template
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    Path("mistaken.json").write_text(json.dumps(template))
    for command in ("validate", "build"):
        code, text = told(capfd, command, "mistaken.json")
        assert code == 2, text
        assert helps in text
    assert not home.exists(), "nothing was started"


def test_a_template_without_a_mistake_is_told_so(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    del home
    assert told(capfd, "validate", "good.json")[0] == 0


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null"])
@pytest.mark.usefixtures("home")
def test_a_state_directory_that_cannot_be_made_is_told_what_helps(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_HOME", place)
    code, text = told(capfd, "run", "show")
    assert (code, "hint: set VMKILN_HOME to a folder that you may make and write" in text) == (2, True), text


@pytest.mark.parametrize(
    ("words", "helps"),
    [
        (("--app-id", "0123", "--secret-stdin"), "`vmkiln principal secret APP_ID`"),
        (("--token-stdin",), "`vmkiln principal token APP_ID`"),
    ],
    ids=["secret", "token"],
)
def test_a_wrong_secret_or_token_is_told_what_helps_and_not_kept(
    words: tuple[str, ...], helps: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        code = "invalid_client" if request.method == "POST" else "InvalidAuthenticationToken"
        return httpx.Response(401, json={"error": {"code": code, "message": "no"}})

    client = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **_: client(transport=httpx.MockTransport(refuse)))
    monkeypatch.setattr("sys.stdin", io.StringIO("guessed\n"))
    code, text = told(capfd, "login", "https://build.example.org", *words)
    assert (code, helps in text, "guessed" in text) == (2, True, False), text
    assert not (home.parent / "user/vmkiln/contexts.json").exists()


@pytest.mark.parametrize("words", [("run", "list"), ("image", "show", "web"), ("principal", "create", "ci")])
def test_a_full_disk_is_told_what_helps(words: tuple[str, ...], home: Path) -> None:
    home.mkdir()
    shell = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$VMKILN_HOME" && exec "$@"'
    vmkiln = ("sh", "-c", shell, "sh", sys.executable, "-m", "vmkiln", *words)
    environment = {"PATH": os.environ["PATH"], "VMKILN_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", *vmkiln],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, "full" in done.stderr, "hint: make room" in done.stderr) == (3, True, True), done.stderr


@pytest.mark.parametrize("words", [("az-setup",), ("doctor", "--json")], ids=" ".join)
def test_what_the_system_refuses_is_told_in_words(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """These ended with a traceback where the state directory was a file."""
    from vmkiln.cli.commands import doctor

    def refused() -> None:
        raise NotADirectoryError(20, "Not a directory", "/afile/x")

    monkeypatch.setattr(doctor, "read_settings", refused)
    monkeypatch.setenv("VMKILN_HOME", "/dev/null")
    with pytest.raises(SystemExit) as ended:
        main.main(list(words))
    said = capfd.readouterr()
    assert ended.value.code == 1
    assert said.err.startswith("error: Not a directory: /")
    assert "Traceback" not in said.err
    if "--json" in words:
        assert json.loads(said.out)["error"]["code"] == "StorageFailed"


def failed_for(error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command in which an error comes up that nobody expected there."""
    from vmkiln.cli.commands import doctor

    def refused() -> None:
        raise error

    monkeypatch.setattr(doctor, "read_settings", refused)
    with pytest.raises(SystemExit) as ended:
        main.main(["doctor"])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        ssl.SSLError(1, "wrong version number"),  # OpenSSL's 1, and not EPERM
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
    ],
    ids=repr,
)
def test_what_cannot_be_reached_is_not_told_as_a_full_disk(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert failed_for(error, monkeypatch) == 3
    said = capfd.readouterr().err
    assert said.startswith(f"error: {error.strerror or 'TimeoutError'}\nhint: is the network there")


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 3, "make room"),
        (OSError(errno.EIO, "Input/output error"), 1, "may this user read and write there?"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "no-such"), 1, "is it there?"),
        (OSError(errno.EBUSY, "Device or resource busy", "/x"), 1, "may this user read and write there?"),
    ],
    ids=str,
)
def test_what_the_system_says_of_files_is_told_with_what_helps(
    error: OSError, code: int, hint: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert failed_for(error, monkeypatch) == code
    assert f"hint: {hint}" in capfd.readouterr().err


@pytest.mark.parametrize("error", [io.UnsupportedOperation("fileno"), OSError(errno.EINVAL, "Invalid argument")])
def test_a_fault_of_ours_is_not_told_as_one_of_the_system(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)) as raised:
        failed_for(error, monkeypatch)
    assert raised.value is error
