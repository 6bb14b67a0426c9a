"""What somebody needs who is asked why a build failed here, in one file: texts only, each of limited length, masked.

Only what is named below is read; no key, certificate, script, disk or database is ever put in as a file. What cannot
be had is told in its place and does not keep the rest away. Nothing here is cleaned up, so that it is seen as it is.
"""

import contextlib
import io
import json
import os
import platform
import re
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vmkiln import __version__
from vmkiln.azure_names import CUSTOMIZATION_LOG, VALIDATION_LOG
from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.buildable.egress_choice import decided_egress
from vmkiln.buildable.examination import Verdict, template_problems
from vmkiln.cli.contexts import contexts_file, read_contexts
from vmkiln.errors import InputError, VmkilnError
from vmkiln.host import command
from vmkiln.host.egress.egress_policy import OPEN_EGRESS
from vmkiln.host.network.network_rules import FILE_NAME as NETWORK_RULES
from vmkiln.run.plan import plan_of
from vmkiln.run.run_summary import summary_of
from vmkiln.secrecy.secret_mask import MASK, SecretMask
from vmkiln.secrecy.secret_shapes import SECRET_NAME, value_without_secrets, without_secrets
from vmkiln.settings import Settings
from vmkiln.shown_settings import secrets_of
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store
from vmkiln.template.template_file import read_image_template

MOST_PART_BYTES = 1024**2  # of a log its end, of everything else its beginning
MOST_FILES = 5000
LEAST_LETTERS = 8  # of a variable's value: `false` is no secret, whatever it is called
MOST_RUNS = 50
JOURNAL_LINES = 3000
JOURNAL_SECONDS = 30.0
UNITS = ("vmkiln.service", "vmkiln-worker.service")
README = """What `vmkiln support-bundle` found out. Everything is text.

Masked ({mask}) are: secrets of the settings and of the environment, keys of storage accounts, logins, signatures in
URLs, private keys, and what stands behind words such as password and token. A secret that a template or a log has in
other words cannot be known as one: look at run/ before you pass this on.

"""


@dataclass(frozen=True)
class BundledFile:
    """One file of the bundle: its name, what it is, its text."""

    name: str
    about: str
    text: str


class Masked:
    """Takes secrets out of texts, by their values and by how they stand in a text, and out of plain data."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self._mask = SecretMask.of(secrets)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return without_secrets(self._mask(text))

    def value(self, value: Any) -> Any:
        """Plain data without secrets."""
        return value_without_secrets(value, self)


def known_secrets(settings: Settings, environment: Mapping[str, str]) -> frozenset[str]:
    """Every secret whose value is known on this machine."""
    found = set(secrets_of(settings))
    found |= {piece for name, value in environment.items() for piece in _secrets_in(name, value)}
    for read in (_account_keys, _owner_secret, _logins):
        try:
            found |= read(settings, environment)
        except (VmkilnError, OSError, ValueError, KeyError, TypeError):
            continue  # what cannot be read is not put in either
    return frozenset(secret for secret in found if secret)


def _secrets_in(name: str, value: str) -> Iterator[str]:
    """What is secret in a variable of the environment: all of it, or who logs in by a URL; pure."""
    pieces = {value} if SECRET_NAME.search(name) else set()
    if SECRET_NAME.search(name):
        pieces |= {piece.partition("=")[2] for piece in re.split(r"[,;]", value)}
    if "@" in value:
        login = value.rpartition("@")[0].rpartition("://")[2]
        user, _, password = login.partition(":")
        pieces |= {login, password or user, unquote(password or user)}
    yield from (piece for piece in pieces if len(piece) >= LEAST_LETTERS)


def _account_keys(settings: Settings, _environment: Mapping[str, str]) -> set[str]:
    return {key for keys in AccountKeys(settings.blobs / "accounts.json").all().values() for key in keys}


def _owner_secret(settings: Settings, _environment: Mapping[str, str]) -> set[str]:
    return {str(json.loads((settings.home / "service" / "owner.json").read_text())["password"])}


def _logins(_settings: Settings, environment: Mapping[str, str]) -> set[str]:
    known = read_contexts(contexts_file(environment)).known.values()
    return {context.secret for context in known} | {context.token for context in known}


async def collected(
    settings: Settings,
    *,
    shown_settings: list[dict[str, Any]],
    open_store: Callable[[], Any],
    run_id: str,
    examination: Callable[[], Awaitable[Any]],
    environment: Mapping[str, str],
) -> list[BundledFile]:
    """The files of a bundle, masked; `run_id` is '' for the newest run.

    Raises: `InputError` when there is no such run.
    """
    masked = Masked(known_secrets(settings, environment))
    of_store = await _from_store(settings, open_store, run_id)  # first: an examination takes minutes
    files: list[BundledFile] = []

    def add(name: str, about: str, content: Any, *, is_log: bool = False) -> None:
        text = masked(content) if isinstance(content, str) else json.dumps(masked.value(content), indent=2, default=str)
        files.append(BundledFile(name, about, _limited(text, is_log=is_log)))

    add("versions.json", "vmkiln, Python, the system", versions())
    add("settings.json", "the settings in force, and where each comes from", shown_settings)
    add("doctor.json", "what this machine has and lacks", await _tried(examination))
    add("files.txt", "names, sizes and modes in the state directory", "\n".join(_files(settings.home)))
    for unit in UNITS:
        add(f"{unit}.log", f"the end of the log of {unit}", await _journal(unit), is_log=True)
    for name, about, content in of_store:
        add(name, about, content, is_log=name.endswith(".log"))
    told = "".join(f"{file.name:<32} {len(file.text.encode()):>9} bytes  {file.about}\n" for file in files)
    return [BundledFile("README.txt", "what is in this file", README.format(mask=MASK) + told), *files]


Content = tuple[str, str, Any]  # a part's name, what it is, and plain data or text


async def _from_store(settings: Settings, open_store: Callable[[], Any], run_id: str) -> list[Content]:
    found: list[Content] = []
    with contextlib.ExitStack() as stack:
        try:
            store: Store = stack.enter_context(open_store())
        except VmkilnError as error:
            return [_broken(error)]
        try:
            newest = next((run.run_id for run in store.runs.list(limit=1)), "")
            wanted = store.runs.find(run_id).run_id if run_id else newest
            found.append(
                ("hosts.json", "the build hosts of the database", [asdict(host) for host in store.hosts.all()])
            )
            runs = [_short(store, run.run_id) for run in store.runs.list(limit=MOST_RUNS)]
            found.append(("runs.json", f"the newest {MOST_RUNS} runs", runs))
            if wanted:
                found += [(f"run/{name}", *rest) for name, *rest in await _of_run(settings, store, wanted)]
        except InputError:
            raise
        except VmkilnError as error:
            found.append(_broken(error))
    return found


def _broken(error: VmkilnError) -> Content:
    return ("database.txt", "why the database could not be read", f"{error.message}\n{error.hint or ''}\n")


def _short(store: Store, run_id: str) -> dict[str, Any]:
    summary = summary_of(store, run_id)
    wanted = ("run_id", "template", "state", "sub_state", "error_code", "message", "started", "ended")
    return {name: summary[name] for name in wanted}


async def _of_run(settings: Settings, store: Store, run_id: str) -> list[Content]:
    run = store.runs.find(run_id)
    found: list[Content] = [
        ("summary.json", f"the run {run_id}: state, phases, outputs, what was decided", summary_of(store, run_id)),
        ("events.json", "what happened, in order", events(store, run_id)),
        ("plan.json", "its template, and what a build of it does now", await _tried(lambda: _plan(settings, run))),
    ]
    if not run.staging_group:
        return [*found, ("logs.txt", "why there are no logs", "the run ended before it had a staging resource group\n")]
    group = staging_resource_group.find(store, run.staging_group, with_deleted=True)
    logs = staging_resource_group.storage_account_of(settings.staging, group).directory / LOGS / run_id
    for name in (CUSTOMIZATION_LOG, VALIDATION_LOG):
        found.append((name, f"the end of {name}", _end_of(logs / name)))
    rules = settings.staging / group.name / NETWORK_RULES
    return [*found, (NETWORK_RULES, "the firewall rules that were in force, with their counters", _end_of(rules))]


def events(store: Store, run_id: str) -> list[dict[str, Any]]:
    """What is recorded of a run, in the order in which it happened."""
    run = store.runs.find(run_id)
    found: list[tuple[Any, str]] = [(run.started, "the run was accepted")]
    for phase in store.runs.phases_of(run_id):
        found += [(phase.started, f"{phase.name} began"), (phase.ended, f"{phase.name} ended")]
    resources = store.staging.resources_of(run.staging_group) if run.staging_group else []
    for resource in (one for one in resources if one.run_id == run_id):
        what = f"{resource.type} {resource.name}"
        found += [(resource.created, f"{what} was made"), (resource.deleted, f"{what} was deleted")]
    found.append((run.ended, f"the run ended {run.state} {run.error_code}".rstrip()))
    dated = sorted((moment.isoformat(), text) for moment, text in found if moment is not None)
    return [{"time": moment, "event": text} for moment, text in dated]


async def _plan(settings: Settings, run: Any) -> Any:
    text = json.dumps(run.template)
    resolved = read_image_template(text, file_name=run.template_name, parameters=())
    verdict = Verdict(problems=tuple(template_problems(resolved.image_template, {})))
    egress = decided_egress(settings.egress, OPEN_EGRESS, resolved.image_template.tags)
    return await plan_of(
        resolved,
        resource_group=run.resource_group,
        verdict=verdict,
        settings=settings,
        allowances=(),
        egress=egress,
    )


async def _tried(work: Callable[[], Awaitable[Any]]) -> Any:
    """What the work gives, or why it gives nothing."""
    try:
        return await work()
    except Exception as error:  # a bundle is asked for when something is broken, and that may be anything
        return {"could not be had": f"{type(error).__name__}: {error}"}


async def _journal(unit: str) -> str:
    arguments = ("journalctl", f"--unit={unit}", f"--lines={JOURNAL_LINES}", "--no-pager", "--output=short-iso")
    try:
        done = await command.run(arguments, timeout_seconds=JOURNAL_SECONDS, check=False)
    except VmkilnError as error:
        return f"could not be had: {error.message}\n"
    return done.text + done.stderr.decode(errors="replace")


def versions() -> dict[str, Any]:
    """What runs here."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return {
        "vmkiln": __version__,
        "python": platform.python_version(),
        "system": system,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _files(home: Path) -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(home):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                yield f"... more than {MOST_FILES} files"
                return
            path = Path(folder) / name
            try:
                found = path.lstat()
            except OSError:
                continue  # gone meanwhile
            yield f"{found.st_mode & 0o7777:04o} {found.st_size:>12} {path.relative_to(home)}"


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            # more than is kept, for a secret may begin before its beginning
            file.seek(max(0, size - 2 * MOST_PART_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return "is not on this machine\n"
    except OSError as error:
        return f"could not be read: {error.strerror}\n"


def _limited(text: str, *, is_log: bool) -> str:
    if len(text) <= MOST_PART_BYTES:
        return text
    if is_log:
        return "... the beginning was left out\n" + text[-MOST_PART_BYTES:]
    return text[:MOST_PART_BYTES] + "\n... the rest was left out\n"


def packed(files: list[BundledFile], *, name: str, now: float) -> bytes:
    """The files as a compressed archive with one folder; pure."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for file in files:
            content = file.text.encode()
            entry = tarfile.TarInfo(f"{name}/{file.name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(now)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()
