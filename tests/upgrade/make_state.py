"""How the states in `kept/` were made: a service of an older release lives, is killed, and all it had is written down.

    git worktree add ../older 5ec5dd5
    python tests/upgrade/make_state.py ../older tests/upgrade/kept/0.1.0-sqlite
    python tests/upgrade/make_state.py ../older tests/upgrade/kept/0.1.0-postgresql --postgresql

Nothing of the code in this tree takes part but the PostgreSQL server: the older checkout's service (its tests'
`stub_service`, real but for its virtual machines) runs as a process, is asked over HTTPS, and dies by SIGKILL while
one run goes on and another waits. Written are `database.sql` and `engine.sql` (the engine's is in the same PostgreSQL
database), `tree.json` (every other file and folder of the state directory with its mode) and `told.json` (what the
older release said to its users: credentials, logs), with `answers.json` (of its API) and `commands.json` (of its
command line). The keys in there are those of a service that lived for seconds.
"""

import argparse
import base64
import http.server
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from asked_server import OUR_SERVERS  # noqa: E402
from postgresql import cluster, programs  # noqa: E402

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATES = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
DEFINITION = f"{COMPUTE}/galleries/g/images/d"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
SECRET = "correct horse battery staple"
SIGNATURE = "sv=2024-11-04&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=b2xkIHNpZ25hdHVyZQ%3D%3D"
SCRIPT = b"#!/bin/sh\necho from a script\n"
PATIENCE_SECONDS = 60
SERVICE = """
import asyncio, os, sys
from pathlib import Path
import stub_build, stub_service
from stub_service import Room, Settings, main, serving
serving.host_capacity = lambda _settings: Room(2, 1024**2, 1024**3)
home, database = Path(sys.argv[1]), os.environ.get("VMKILN_DATABASE_URL", "")
asyncio.run(main(Settings(home, database_url=database) if database else Settings(home)))
"""
COMMANDS = (
    ("run", "list", "--json"),
    ("run", "show", "RUN", "--json"),
    ("image", "list", "--json"),
    ("image", "show", f"{COMPUTE}/images/web", "--json"),
    ("staging", "list", "--json"),
    ("staging", "show", "STAGING", "--json"),
    ("host", "list", "--json"),
    ("principal", "list", "--json"),
    ("role", "list", "--json"),
)
ASKED = (
    (TEMPLATES, "2024-02-01"),
    (f"{TEMPLATES}/web", "2024-02-01"),
    (f"{TEMPLATES}/web/runOutputs", "2024-02-01"),
    (f"{TEMPLATES}/web/providers/Vmkiln.Builds/runs", "2024-02-01"),
    (f"{TEMPLATES}/broken/providers/Vmkiln.Builds/runs", "2024-02-01"),
    (f"{TEMPLATES}/secure", "2024-02-01"),
    (f"{TEMPLATES}/going", "2024-02-01"),
    (f"{COMPUTE}/images", "2024-07-01"),
    (f"{DEFINITION}/versions", "2024-03-03"),
    (f"{NETWORK}/virtualNetworks/v", "2024-05-01"),
    (IDENTITY, "2023-01-31"),
    (f"{GROUP}/resources", "2024-11-01"),
    (f"{GROUP}/providers/Microsoft.Resources/deployments/d", "2024-11-01"),
    (f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ContainerInstance/containerGroups", "2023-05-01"),
    (f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/storageAccounts", "2023-05-01"),
    (f"/subscriptions/{SUBSCRIPTION}/resourceGroups", "2024-11-01"),
)


def template(*commands: str, targets: list[dict[str, Any]], **properties: Any) -> dict[str, Any]:
    """The body of an image template."""
    debian = {"publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    return {
        "location": "westus2",
        "tags": {"team": "web"},
        "identity": {"type": "None"},
        "properties": {
            "source": {"type": "PlatformImage", **debian},
            "customize": [{"type": "Shell", "name": "first", "inline": list(commands)}],
            "distribute": targets,
            **properties,
        },
    }


def managed(name: str) -> dict[str, Any]:
    """A target that is a managed image."""
    return {"type": "ManagedImage", "runOutputName": name, "imageId": f"{COMPUTE}/images/{name}", "location": "westus2"}


def secure_deployment(script_uri: str) -> dict[str, Any]:
    """A deployment of a template that holds a secure parameter and an address with a shared access signature."""
    inline = {"type": "Shell", "name": "secret", "inline": ["[concat('printf ', parameters('password'))]"]}
    script = {"type": "Shell", "name": "script", "scriptUri": "[parameters('scriptUri')]"}
    resource = {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": "2024-02-01",
        "name": "secure",
        **template("true", targets=[managed("secure")], customize=[inline, script]),
    }
    whole = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"password": {"type": "securestring"}, "scriptUri": {"type": "securestring"}},
        "resources": [resource],
    }
    given = {"password": {"value": SECRET}, "scriptUri": {"value": script_uri}}
    return {"properties": {"mode": "Incremental", "template": whole, "parameters": given}}


def served_script(stack: ExitStack) -> str:
    """The address, with a signature, of a script that is served here."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(SCRIPT)))
            self.end_headers()
            self.wfile.write(SCRIPT)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    stack.callback(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/scripts/first.sh?{SIGNATURE}"


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit("the older service did not come so far")
        time.sleep(0.1)
    return found


class Older:
    """The older release: its service, asked over HTTPS, and its command line, both in one state directory."""

    def __init__(self, checkout: Path, home: Path, database: str) -> None:
        path = f"{checkout / 'tests'}:{checkout}"
        self.environment = {
            **os.environ,
            **OUR_SERVERS,
            "PYTHONPATH": path,
            "VMKILN_HOME": str(home),
            "VMKILN_DATABASE_URL": database,
        }
        os.umask(0o022)
        home.mkdir(mode=0o755)  # as `useradd --create-home` does
        command = [sys.executable, "-c", SERVICE, str(home)]
        self.service = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.service.stdout is not None
        self.url = self.service.stdout.readline().strip()
        self.owner = json.loads((home / "service/owner.json").read_text())
        self.web = httpx.Client(base_url=self.url, verify=False, timeout=60)  # noqa: S501 (it was started just now)
        form = {"grant_type": "client_credentials", "scope": f"{self.url}/.default"}
        form |= {"client_id": self.owner["appId"], "client_secret": self.owner["password"]}
        token = self.web.post(f"/{self.owner['tenant']}/oauth2/v2.0/token", data=form).json()["access_token"]
        self.web.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, version: str, body: Any = None) -> Any:
        answer = self.web.request(method, path, params={"api-version": version}, json=body)
        if answer.status_code >= 400:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def command(self, *words: str) -> str:
        line = [sys.executable, "-m", "vmkiln", *words]
        return subprocess.run(line, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def provisioned(self, name: str) -> None:
        state = ("properties", "provisioningState")
        until(lambda: self.ask("GET", f"{TEMPLATES}/{name}", "2024-02-01")[state[0]][state[1]] == "Succeeded")

    def last_run(self, name: str) -> dict[str, Any]:
        runs = self.ask("GET", f"{TEMPLATES}/{name}/providers/Vmkiln.Builds/runs", "2024-02-01")["value"]
        return dict(runs[0]) if runs else {}

    def run(self, name: str, state: str) -> str:
        """Run a template, and wait until its run has a state; gives the run's id."""
        self.ask("POST", f"{TEMPLATES}/{name}/run", "2024-02-01")
        until(lambda: (run := self.last_run(name)) and run["properties"]["runState"] == state)
        return str(self.last_run(name)["name"])


def live(older: Older, script_uri: str) -> dict[str, Any]:
    """What users of the older release made; gives what it told them."""
    ask = older.ask
    ask("PUT", GROUP, "2024-11-01", {"location": "westus2", "tags": {"made": "long ago"}})
    ask("PUT", IDENTITY, "2023-01-31", {"location": "westus2"})
    ask("PUT", f"{COMPUTE}/galleries/g", "2024-03-03", {"location": "westus2"})
    kind = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1"}
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    ask("PUT", DEFINITION, "2024-03-03", {"location": "westus2", "properties": {**kind, "identifier": identifier}})
    subnet = {"name": "s", "properties": {"addressPrefix": "10.9.1.0/24"}}
    space = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [subnet]}
    ask("PUT", f"{NETWORK}/virtualNetworks/v", "2024-05-01", {"location": "westus2", "properties": space})
    auditor = json.loads(older.command("principal", "create", "auditor"))
    older.command("role", "assign", "Reader", auditor["appId"], "--scope", f"/subscriptions/{SUBSCRIPTION}")
    token = older.command("principal", "token", auditor["appId"], "--name", "kept").strip()

    gallery = {"type": "SharedImage", "runOutputName": "version", "galleryImageId": DEFINITION}
    targets = [managed("web"), {**gallery, "replicationRegions": ["westus2"]}, {"type": "VHD", "runOutputName": "vhd"}]
    ask("PUT", f"{TEMPLATES}/web", "2024-02-01", template("publish", targets=targets))
    ask("PUT", f"{TEMPLATES}/broken", "2024-02-01", template("fail", targets=[managed("broken")]))
    ask("PUT", f"{TEMPLATES}/going", "2024-02-01", template("wait", targets=[managed("going")]))
    deployment = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
    ask("PUT", deployment, "2024-11-01", secure_deployment(script_uri))
    for name in ("web", "broken", "going"):
        older.provisioned(name)
    until(lambda: ask("GET", deployment, "2024-11-01")["properties"]["provisioningState"] == "Succeeded")
    older.provisioned("secure")

    runs = {"web": older.run("web", "Succeeded"), "broken": older.run("broken", "Failed")}
    runs["going"] = older.run("going", "Running")
    until(lambda: older.last_run("going")["properties"]["runSubState"] == "Customizing")
    runs["secure"] = older.run("secure", "Queued")
    staging = ask("GET", f"{TEMPLATES}/web", "2024-02-01")["properties"]["exactStagingResourceGroup"].rpartition("/")[2]
    logs = {
        name: ask("GET", f"{TEMPLATES}/{name}/providers/Vmkiln.Builds/runs/{runs[name]}/log", "2024-02-01")["lines"]
        for name in ("web", "broken", "going")
    }
    words = {"RUN": runs["web"], "STAGING": staging}
    commands = [[words.get(word, word) for word in command] for command in COMMANDS]
    return {
        "owner": older.owner,
        "auditor": {**auditor, "token": token},
        "secret": SECRET,
        "script_uri": script_uri,
        "runs": runs,
        "logs": logs,
        "commands": [{"command": words, "answer": json.loads(older.command(*words))} for words in commands],
        "answers": [{"path": path, "version": version, "answer": ask("GET", path, version)} for path, version in ASKED],
    }


def tree(home: Path) -> list[dict[str, Any]]:
    """Every file and folder but the databases: its path, its mode, its content as text, or deflated in base 64."""
    found = []
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if path.name.startswith(("vmkiln.sqlite", "engine.sqlite")) or path.is_socket():
            continue
        entry: dict[str, Any] = {"path": name, "mode": f"{stat.S_IMODE(path.lstat().st_mode):04o}"}
        if not path.is_dir():
            content = path.read_bytes()
            try:
                entry["text"] = content.decode()
                if "\0" in entry["text"]:
                    raise ValueError
            except ValueError:
                entry.pop("text", None)
                entry["deflated"] = base64.b64encode(zlib.compress(content, 9)).decode()
        found.append(entry)
    return [{"path": ".", "mode": f"{stat.S_IMODE(home.stat().st_mode):04o}"}, *found]


def listed(entries: list[dict[str, Any]]) -> str:
    """JSON with an entry a line, so that a change is seen."""
    return "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"


def dumped(file: Path) -> str:
    """An SQLite database as SQL."""
    connection = sqlite3.connect(file)
    try:
        return "".join(f"{line}\n" for line in connection.iterdump())
    finally:
        connection.close()


def dumped_by_server(url: str) -> str:
    """A PostgreSQL database as SQL, without the words that only some releases of psql know, and without owners."""
    command = [programs() / "pg_dump", "--no-owner", "--no-privileges", "--inserts", url]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.sub(r"(?m)^(\\(un)?restrict .*|SET transaction_timeout.*|--.*|)\n", "", text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write down the state of an older release.")
    parser.add_argument("checkout", type=Path, help="the older checkout")
    parser.add_argument("kept", type=Path, help="the folder to write")
    parser.add_argument("--postgresql", action="store_true", help="with its database in PostgreSQL")
    asked = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="older-"))) / "home"
        database = stack.enter_context(cluster()).new_database() if asked.postgresql else ""
        older = Older(asked.checkout.absolute(), home, database)
        try:
            told = live(older, served_script(stack))
        finally:
            older.service.send_signal(signal.SIGKILL)
            older.service.wait()
        shutil.rmtree(asked.kept, ignore_errors=True)
        asked.kept.mkdir(parents=True)
        if database:
            (asked.kept / "database.sql").write_text(dumped_by_server(database))
            del told["commands"], told["answers"]  # the other state has them
        else:
            (asked.kept / "database.sql").write_text(dumped(home / "vmkiln.sqlite"))
            (asked.kept / "engine.sql").write_text(dumped(home / "engine.sqlite"))
        told["home"] = str(home)
        (asked.kept / "tree.json").write_text(listed(tree(home)))
        for name in {"commands", "answers"} & set(told):
            (asked.kept / f"{name}.json").write_text(listed(told.pop(name)))
        (asked.kept / "told.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
