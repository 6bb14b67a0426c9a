"""Copies the scripts and files a template names into the staging storage account, and checks what arrived.

*Leaves behind:* one blob each under `scripts/`. *Undone by:* deleting the storage account.
*Safe to repeat:* yes; the same URL is fetched once a run and the bytes that were checked are the bytes that are used.
"""

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from vmkiln.errors import DownloadFailed
from vmkiln.fetching.http_fetch import ATTEMPTS, CHUNK_BYTES, Patience, answered, connected, fetched
from vmkiln.fetching.server_rule import FOR_CALLERS, ServerRule
from vmkiln.fetching.way_out import STRAIGHT, WayOut
from vmkiln.files.private_folder import private_file
from vmkiln.staging.local_files import LocalFiles, head_of, is_local, local_path, oddity_of, opened, refusal_of
from vmkiln.staging.storage_account import SCRIPTS, StorageAccount
from vmkiln.template.image_template import MOST_SCRIPTS
from vmkiln.waiting.off_loop import off_loop, off_loop_with

FIRST_PAUSE_SECONDS = 0.5
MOST_BYTES = 4 * 1024**3
MOST_BYTES_TOGETHER = 16 * 1024**3  # of all that one template names
MOST_AT_ONCE = 8
MOST_COPY_SECONDS = 60 * 60.0  # for all of it, however often it is tried


@dataclass(frozen=True)
class Script:
    """One script or file to copy: where the template names it, its address, and its SHA-256 ('' = not checked)."""

    path: str
    uri: str
    sha256: str = ""


@dataclass(frozen=True)
class CopiedScript:
    """A script in the storage account: which, its file, its real SHA-256 and size in bytes."""

    script: Script
    file: Path
    sha256: str
    size_bytes: int


@dataclass
class _Copying:
    """What the copies of one template share: the client, how many go on at once, and the bytes that came so far."""

    client: httpx.AsyncClient
    local_files: LocalFiles
    notice: Callable[[str], None]
    turns: asyncio.Semaphore
    bytes: int = 0


async def copy_scripts(
    scripts: Sequence[Script],
    account: StorageAccount,
    *,
    local_files: LocalFiles,
    notice: Callable[[str], None],
    rule: ServerRule = FOR_CALLERS,
    way_out: WayOut = STRAIGHT,
) -> tuple[CopiedScript, ...]:
    """Copy every script. `notice` gets a sentence for each retry, and for what is odd about a script.

    Raises: `DownloadFailed` naming every script that could not be copied and why, after all were tried.
    """
    if not scripts:
        return ()
    if len(scripts) > MOST_SCRIPTS:
        raise DownloadFailed(
            f"the template names {len(scripts)} scripts and files; at most {MOST_SCRIPTS} are copied",
            hint="name an archive of them",
            paths=[script.path for script in scripts[MOST_SCRIPTS:]],
        )
    files = await off_loop(_files_for, scripts, account)
    try:
        async with asyncio.timeout(MOST_COPY_SECONDS), connected(way_out, rule, notice=notice) as client:
            copying = _Copying(client, local_files, notice, asyncio.Semaphore(MOST_AT_ONCE))
            copies = [_copy(script, file, copying) for script, file in zip(scripts, files, strict=True)]
            results = await asyncio.gather(*copies, return_exceptions=True)
    except TimeoutError as error:
        paths = [script.path for script in scripts]
        text = f"the scripts and files did not all come within {MOST_COPY_SECONDS:.0f} s"
        raise DownloadFailed(text, paths=paths) from error
    failures = [result for result in results if isinstance(result, DownloadFailed)]
    if failures:
        text = "\n".join(f"  {failure.message}" for failure in failures)
        raise DownloadFailed(
            f"{len(failures)} of {len(scripts)} scripts and files could not be copied:\n{text}",
            paths=[path for failure in failures for path in failure.paths],
        )
    copied: list[CopiedScript] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        copied.append(result)
    return tuple(copied)


def _files_for(scripts: Sequence[Script], account: StorageAccount) -> list[Path]:
    return [account.blob(f"{SCRIPTS}/{_blob_name(index, script.uri)}") for index, script in enumerate(scripts)]


def _blob_name(index: int, uri: str) -> str:
    name = unquote(urlsplit(uri).path).rsplit("/", 1)[-1]
    return f"{index:04}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)[-80:].lstrip('._-') or 'file'}"


async def _copy(script: Script, file: Path, copying: _Copying) -> CopiedScript:
    async with copying.turns:
        if is_local(script.uri):
            digest, size = await asyncio.to_thread(_copy_local, script, file, copying.local_files)
        else:
            digest, size = await _download(script, file, copying)
    if script.sha256 and digest != script.sha256.lower():
        await off_loop(file.unlink, missing_ok=True)
        raise _failed(script, f"{_shown(script.uri)} has SHA-256 {digest}, but the template says {script.sha256}")
    if odd := await off_loop(oddity, script.path, file):
        copying.notice(f"{script.path}: {_shown(script.uri)} {odd}")
    return CopiedScript(script, file, digest, size)


def oddity(path: str, file: Path) -> str:
    """What is odd about the copy of what the template names at `path`; '' for nothing, and for what is no script."""
    return oddity_of(head_of(file)) if path.endswith("scriptUri") else ""


def _failed(script: Script, reason: str) -> DownloadFailed:
    return DownloadFailed(f"{script.path}: {reason}", paths=[script.path])


def _shown(uri: str) -> str:
    """The address without its query, which may hold a signature, and without a password."""
    parts = urlsplit(uri)
    host = parts.netloc.rsplit("@", 1)[-1]
    return parts._replace(netloc=host, query="", fragment="").geturl() + ("?..." if parts.query else "")


async def _download(script: Script, file: Path, copying: _Copying) -> tuple[str, int]:
    shown = _shown(script.uri)
    return await fetched(
        lambda: _fetch(script, file, copying),
        Patience(first_pause_seconds=FIRST_PAUSE_SECONDS),
        failed=lambda reason: _failed(script, f"downloading {shown} {reason}"),
        again=lambda cause, number: copying.notice(
            f"Downloading external file ({shown}) [attempt {number} of {ATTEMPTS}] failed: {cause}"
        ),
    )


async def _fetch(script: Script, file: Path, copying: _Copying) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    temporary = file.with_name(f".{file.name}.part")
    try:
        async with answered(copying.client, script.uri) as response:
            response.raise_for_status()
            async with off_loop_with(lambda: private_file(temporary, "wb")) as target:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    size += len(chunk)
                    copying.bytes += len(chunk)
                    if size > MOST_BYTES:
                        raise _failed(script, f"{_shown(script.uri)} is larger than {MOST_BYTES} bytes")
                    if copying.bytes > MOST_BYTES_TOGETHER:
                        text = f"with {_shown(script.uri)} it is more than {MOST_BYTES_TOGETHER} bytes in all"
                        raise _failed(script, text)
                    await off_loop(target.write, chunk)
                    await off_loop(digest.update, chunk)
        await off_loop(temporary.rename, file)
    finally:
        await off_loop(temporary.unlink, missing_ok=True)
    return digest.hexdigest(), size


def _copy_local(script: Script, file: Path, local_files: LocalFiles) -> tuple[str, int]:
    if not local_files.is_allowed:
        raise _failed(script, f"`{script.uri}` is a local file; {local_files.advice}")
    if reason := refusal_of(script.uri, local_files):
        raise _failed(script, reason)
    try:
        with opened(local_path(script.uri, local_files)) as source, private_file(file, "wb") as target:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise _failed(script, f"`{script.uri}` is not a regular file")
            digest, size = hashlib.sha256(), 0
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
    except OSError as error:
        raise _failed(script, f"reading `{script.uri}` failed: {error.strerror}") from error
    return digest.hexdigest(), size
