"""Bicep files, compiled by the `bicep` or `az` that is on PATH; results are kept by digest.

The digest is of the compiler, the file and every local file that it names, theirs included: modules, imports, loaded
texts, `using`, bicepconfig.json. *Leaves behind:* the kept results in `$XDG_CACHE_HOME/vmkiln/bicep`.
*Undone by:* deleting the folder. *Safe to repeat:* yes.
Source: "Bicep CLI commands" (build, build-params), and the same of `az bicep`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vmkiln.cli.template_text import read_text
from vmkiln.errors import CommandFailed, InputError
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.host import command

COMPILE_SECONDS = 300.0
MOST_KEPT = 64  # results
MOST_FILES_NAMED = 500  # in a template with all its modules
_NAMED = re.compile(
    r"(?:module\s+\w+|from|using|extends|loadTextContent\(|loadJsonContent\(|loadYamlContent\(|loadFileAsBase64\("
    r"|loadDirectoryFileInfo\()\s*'([^'$]+)'"
)
HINT = (
    "install the Bicep compiler (`az bicep install`, or `bicep` from github.com/Azure/bicep/releases), "
    "or compile the file elsewhere: `bicep build FILE` writes the JSON that is read here"
)


def compiler() -> list[str]:
    """The compiler's command, to which the verb is added. Raises: `InputError` when there is none."""
    if program := shutil.which("bicep"):
        return [program]
    if program := shutil.which("az"):
        return [program, "bicep"]
    raise InputError("this is Bicep, and neither `bicep` nor `az` is on PATH", hint=HINT)


def compiled(path: Path, *, is_parameters: bool) -> dict[str, str]:
    """What a Bicep file compiles to: `template`, and for a .bicepparam file `parameters` too, each as JSON text.

    Raises: `InputError` with the compiler's words.
    """
    program = compiler()
    kept = cache_folder() / f"{digest_of(program, path)}.json"
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(kept.read_text())
        os.utime(kept)
        if isinstance(found, dict):
            return {str(name): str(text) for name, text in found.items()}
    verb = "build-params" if is_parameters else "build"
    is_az = program[-1] == "bicep" and len(program) > 1
    arguments = [*program, verb, *(["--file"] if is_az else []), str(path), "--stdout"]
    told = _run(arguments, path)
    result = _results(told, path) if is_parameters else {"template": told}
    _keep(kept, result)
    return result


def _results(told: str, path: Path) -> dict[str, str]:
    """The two documents that `build-params --stdout` prints; a newer compiler prints them in one object."""
    try:
        document = json.loads(told)
    except ValueError as error:
        raise InputError(f"{path}: the compiler printed no JSON", hint="a newer `bicep` may do better") from error
    if isinstance(document, dict) and "templateJson" in document:
        template = document["templateJson"]
        if not isinstance(template, str):
            raise InputError(f"{path} names no template in a file", hint="write `using 'main.bicep'` in it")
        return {"template": template, "parameters": str(document.get("parametersJson") or "{}")}
    return {"parameters": told}


def _run(arguments: list[str], path: Path) -> str:
    """What the compiler prints; it works in a loop of its own, for the caller may be in one."""

    def work() -> command.Completed:
        return asyncio.run(command.run(arguments, timeout_seconds=COMPILE_SECONDS, check=False))

    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            [completed] = pool.map(lambda _: work(), [None])
    except CommandFailed as error:
        raise InputError(f"{path} could not be compiled: {error.message}", hint=error.hint) from error
    if completed.exit_status or not completed.stdout.strip():
        words = completed.stderr.decode(errors="replace").strip()[-4000:] or f"exit status {completed.exit_status}"
        raise InputError(f"{path} could not be compiled:\n{words}", hint="what the compiler says stands above")
    return completed.text


def cache_folder() -> Path:
    """Where results are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "vmkiln" / "bicep"


def digest_of(program: list[str], path: Path) -> str:
    """The SHA-256 of the compiler, a file and the local files that it names, theirs included."""
    digest = hashlib.sha256()
    real = Path(shutil.which(program[0]) or program[0]).resolve()
    with contextlib.suppress(OSError):
        about = real.stat()
        digest.update(f"{real} {about.st_size} {about.st_mtime_ns}\0".encode())
    waiting, seen = [path.resolve()], set[Path]()
    while waiting and len(seen) < MOST_FILES_NAMED:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            digest.update(f"{file} {len(content)}\0".encode() + content)
            if file.suffix.lower() in (".bicep", ".bicepparam"):
                named = _NAMED.findall(content.decode(errors="replace"))
                waiting += [(file.parent / name).resolve() for name in named if ":" not in name]
                waiting += [folder / "bicepconfig.json" for folder in file.parents]
    return digest.hexdigest()


def _keep(kept: Path, result: dict[str, str]) -> None:
    """Keep a result for the next time; where that cannot be, it is made anew."""
    with contextlib.suppress(Exception):
        make_folder(kept.parent)
        write_whole(kept, json.dumps(result).encode())
        results = sorted(kept.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for old in results[:-MOST_KEPT]:
            old.unlink(missing_ok=True)


def template_and_parameters(path: Path, kind: str) -> tuple[str, str]:
    """The JSON texts of a template and of its parameters ('' for none) that a Bicep file means."""
    result = compiled(path, is_parameters=kind == "bicepparam")
    if "template" not in result:  # an older compiler: the template is the one that `using` names
        used = re.search(r"(?m)^\s*using\s+'([^']+)'", read_text(path))
        if used is None or ":" in used[1]:
            raise InputError(f"{path} names no template in a file", hint="write `using 'main.bicep'` in it")
        beside = path.parent / used[1]
        text = read_text(beside) if beside.suffix == ".json" else compiled(beside, is_parameters=False)["template"]
        return text, result["parameters"]
    return result["template"], result.get("parameters", "")
