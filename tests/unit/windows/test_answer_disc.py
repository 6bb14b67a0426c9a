"""The disc of a Windows run: what lies on it, under which names, and who may read it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmkiln.windows import scripts
from vmkiln.windows.answer_disc import ANSWER_NAMES, GuestAddress, contents, make_disc
from vmkiln.windows.answer_file import Answer
from vmkiln.windows.run_login import RunLogin, new_login

ADDRESS = GuestAddress("52:54:00:00:00:04", "10.1.0.4", 24, "10.1.0.1", "10.1.0.3", "10.2.0.4")


@pytest.fixture(scope="module")
def login() -> RunLogin:
    return new_login([ADDRESS.address], now=datetime.now(UTC))


def test_the_scripts_find_all_that_they_read_on_the_disc(login: RunLogin) -> None:
    files = contents(Answer(login), ADDRESS, instance_id="run-1")
    script = scripts.text(scripts.FIRST_BOOT)
    assert set(re.findall(r"\$PSScriptRoot\\([\w.-]+)", script)) <= set(files)
    run = json.loads(files["run.json"])
    assert set(re.findall(r"\$run\.(\w+)", script)) == set(run)
    assert files[ANSWER_NAMES[0]] == files[ANSWER_NAMES[1]]


def test_secrets_lie_in_three_files_and_no_other(login: RunLogin) -> None:
    files = contents(Answer(login), ADDRESS, instance_id="run-1")
    secrets = (login.password, login.administrator_password, login.certificate.pfx_password)
    texts = {name: content for name, content in files.items() if isinstance(content, str)}
    with_secrets = {name for name, text in texts.items() if any(secret in text for secret in secrets)}
    assert with_secrets == {*ANSWER_NAMES, "run.json"}
    assert set(files) - set(texts) == {"listener.pfx"}


async def test_the_disc_has_joliets_long_names_and_is_its_owners(tmp_path: Path, login: RunLogin) -> None:
    image = tmp_path / "answer.iso"
    await make_disc(image, contents(Answer(login), ADDRESS, instance_id="run-1"))
    content = image.read_bytes()
    # a supplementary volume descriptor with the escape sequence of UCS-2, level 3 (Joliet's specification)
    assert content[17 * 2048 : 17 * 2048 + 6] == b"\x02CD001"
    assert content[17 * 2048 + 88 : 17 * 2048 + 91] == b"%/E"
    for name in (*ANSWER_NAMES, scripts.DEFAULT_DEPROVISIONING):
        assert name.encode("utf-16-be") in content, f"{name} is cut"
    assert login.certificate.pfx in content
    assert image.stat().st_mode & 0o077 == 0
    assert content[16 * 2048 + 40 : 16 * 2048 + 72].rstrip() == b"cidata"
