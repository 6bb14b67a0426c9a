"""The log of a process, for people and for machines, without secrets."""

import json
import logging

import pytest

from vmkiln.process_log import hiding, set_up
from vmkiln.settings import LogFormat, LogLevel


def test_a_json_line_says_when_what_and_of_which_run(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.JSON)
    logging.getLogger("vmkiln.x").warning('it "broke"\nhere', extra={"run_id": "r1", "attempt": 2})
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").startswith("20")
    assert found == {
        "level": "WARNING", "logger": "vmkiln.x", "message": 'it "broke"\nhere', "run_id": "r1", "attempt": 2,
    }  # fmt: skip


def test_an_errors_trace_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.JSON)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("vmkiln.x").exception("failed")
    [line] = capsys.readouterr().err.splitlines()
    assert "ValueError: why" in json.loads(line)["exc_info"]


def test_text_is_the_default_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.TEXT)
    logging.getLogger("vmkiln.x").info("started")
    assert capsys.readouterr().err.strip().endswith("INFO vmkiln.x: started")


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_secrets_are_masked_wherever_they_stand(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    settings_secret, run_secret = 'hunter"22', "line one\nline two"
    set_up(LogLevel.DEBUG, log_format, secrets=[settings_secret])
    log = logging.getLogger("vmkiln.x")
    with hiding([run_secret]):
        log.debug("starting: %s", f"curl --user u:{settings_secret} https://a/b?sig=AbCdEf%3D")
        try:
            raise ValueError(run_secret)
        except ValueError:
            log.exception("of %s", "line two", extra={"argument": "line one"})
    log.info("line one is no secret any more")
    told = capsys.readouterr().err
    for piece in ("hunter", "AbCdEf", "line two"):
        assert piece not in told
    assert told.count("line one") == 1
    assert "starting: curl --user u:***" in told


def test_a_secret_of_two_runs_stays_masked_until_the_second_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.TEXT)
    with hiding(["hunter22"]):
        with hiding(["hunter22"]):
            pass
        logging.getLogger("vmkiln.x").info("hunter22")
    assert "hunter22" not in capsys.readouterr().err


def test_libraries_do_not_tell_what_they_send_however_much_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.DEBUG, LogFormat.TEXT)
    logging.getLogger("azure.core").debug("Authorization: Bearer x")
    logging.getLogger("vmkiln.host").debug("ours")
    assert capsys.readouterr().err.strip().endswith("DEBUG vmkiln.host: ours")


def test_less_is_logged_when_less_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.WARNING, LogFormat.TEXT)
    logging.getLogger("vmkiln.x").info("little")
    logging.getLogger("vmkiln.x").warning("much")
    assert capsys.readouterr().err.count("\n") == 1
