"""Copying scripts: checked, retried, and every failure named at once."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from vmkiln.errors import DownloadFailed
from vmkiln.fetching.server_rule import FOR_CALLERS, NamedBy, ServerRule, read_servers
from vmkiln.fetching.transport import REFUSED
from vmkiln.staging import script_copy
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.script_copy import Script, copy_scripts
from vmkiln.staging.storage_account import StorageAccount

BODY = b"#!/bin/sh\necho hello\n"
LOOPBACK = ServerRule(NamedBy.CALLER, read_servers("127.0.0.1"))
DIGEST = hashlib.sha256(BODY).hexdigest()


class _Answers(BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        match self.path.split("?")[0]:
            case "/ok.sh":
                status = 200
            case "/flaky.sh":
                status = 503 if self.requests.count(self.path) < 3 else 200
            case "/slow.sh":
                time.sleep(1)
                status = 200
            case "/down.sh":
                status = 500
            case _:
                status = 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(script_copy, "FIRST_PAUSE_SECONDS", 0.01)
    _Answers.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def copy(
    tmp_path: Path,
    *scripts: Script,
    allowed: bool = False,
    notices: list[str] | None = None,
    rule: ServerRule = LOOPBACK,
) -> list[bytes]:
    account = StorageAccount("a", tmp_path / "account")
    account.create()
    local = LocalFiles(tmp_path / "template", allowed)
    said = notices if notices is not None else []
    copied = asyncio.run(copy_scripts(scripts, account, local_files=local, notice=said.append, rule=rule))
    return [item.file.read_bytes() for item in copied]


def test_a_script_with_the_right_checksum_is_copied(tmp_path: Path, server: str) -> None:
    assert copy(tmp_path, Script("properties.customize[0].scriptUri", f"{server}/ok.sh", DIGEST)) == [BODY]


def test_a_temporary_failure_is_retried_and_said(tmp_path: Path, server: str) -> None:
    notices: list[str] = []
    assert copy(tmp_path, Script("p", f"{server}/flaky.sh"), notices=notices) == [BODY]
    assert len(notices) == 2
    assert "[attempt 1 of 5]" in notices[0]


def test_every_failed_address_is_named_at_once(tmp_path: Path, server: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        copy(
            tmp_path,
            Script("properties.customize[0].scriptUri", f"{server}/missing.sh"),
            Script("properties.customize[1].scriptUri", f"{server}/ok.sh"),
            Script("properties.customize[2].sourceUri", f"{server}/down.sh"),
        )
    text = caught.value.message
    assert "2 of 3" in text
    assert "properties.customize[0].scriptUri" in text
    assert "404" in text
    assert "properties.customize[2].sourceUri" in text
    assert "customize[1]" not in text


def test_a_wrong_checksum_leaves_no_file(tmp_path: Path, server: str) -> None:
    with pytest.raises(DownloadFailed, match=DIGEST):
        copy(tmp_path, Script("p", f"{server}/ok.sh", "0" * 64))
    assert [path for path in (tmp_path / "account").rglob("*") if path.is_file()] == []


def test_a_signature_in_the_address_is_never_shown(tmp_path: Path, server: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        copy(tmp_path, Script("p", f"{server}/missing.sh?sig=SECRETSECRET"))
    assert "SECRETSECRET" not in caught.value.message


def test_a_local_file_needs_permission(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="--allow-local-files"):
        copy(tmp_path, Script("p", "file:hello.sh"))


def test_a_local_file_is_relative_to_the_template(tmp_path: Path) -> None:
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "hello.sh").write_bytes(BODY)
    assert copy(tmp_path, Script("p", "file:hello.sh"), allowed=True) == [BODY]
    assert copy(tmp_path, Script("p", "hello.sh"), allowed=True) == [BODY]


@pytest.mark.parametrize("uri", ["file:../secret", "file:///etc/passwd", "../secret", "file:link"])
def test_a_local_file_cannot_lie_outside_the_templates_folder(tmp_path: Path, uri: str) -> None:
    (tmp_path / "template").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "template" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(DownloadFailed, match="outside"):
        copy(tmp_path, Script("p", uri), allowed=True)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "template" / "sub").mkdir(parents=True)
    with pytest.raises(DownloadFailed):
        copy(tmp_path, Script("p", "file:sub"), allowed=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "no-such-name.invalid"])
def test_a_private_server_is_refused_at_once_in_the_same_words(tmp_path: Path, server: str, host: str) -> None:
    notices: list[str] = []
    with pytest.raises(DownloadFailed) as caught:
        copy(tmp_path, Script("p", f"{server.replace('127.0.0.1', host)}/ok.sh"), rule=FOR_CALLERS, notices=notices)
    assert caught.value.message.endswith(f"/ok.sh failed: {REFUSED}")
    assert (_Answers.requests, notices) == ([], [])


def test_scripts_of_one_template_are_few(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = [Script(f"p[{number}]", f"{server}/ok.sh") for number in range(4)]
    assert len(copy(tmp_path, *scripts)) == 4
    monkeypatch.setattr(script_copy, "MOST_SCRIPTS", 3)
    with pytest.raises(DownloadFailed, match="at most 3") as caught:
        copy(tmp_path, *scripts)
    assert caught.value.paths == ("p[3]",)


def test_scripts_of_one_template_are_small_together(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_copy, "MOST_BYTES_TOGETHER", 2 * len(BODY))
    with pytest.raises(DownloadFailed, match="1 of 3"):
        copy(tmp_path, *(Script(f"p[{number}]", f"{server}/ok.sh") for number in range(3)))


def test_scripts_that_come_too_slowly_are_given_up(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_copy, "MOST_COPY_SECONDS", 0.3)
    with pytest.raises(DownloadFailed, match="did not all come"):
        copy(tmp_path, Script("p", f"{server}/slow.sh"))
