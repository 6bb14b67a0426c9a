"""The log of a process, for people and for machines, without secrets."""

import json
import logging

import pytest
from full_pipe import unread

from vmkiln import process_log
from vmkiln.process_log import hiding, set_up
from vmkiln.setting_texts.declaration import LogFormat, LogLevel


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


def test_a_secret_that_nobody_hides_any_more_is_not_kept() -> None:
    before = dict(process_log._hidden._counts)
    with hiding(["hunter22"]):
        assert "hunter22" in process_log._hidden._counts
    assert dict(process_log._hidden._counts) == before


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


def test_beside_the_loop_lines_are_written_in_order_and_whole_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.TEXT)
    with process_log.beside_the_loop():
        process_log.say("serving")
        for number in range(100):
            logging.getLogger("vmkiln.x").info("line %d", number)
    logging.getLogger("vmkiln.x").info("afterwards")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "serving"
    assert [line.rpartition(": ")[2] for line in lines[1:]] == [*(f"line {n}" for n in range(100)), "afterwards"]


def test_a_secret_is_masked_before_a_line_waits(capfd: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.TEXT)
    with process_log.beside_the_loop(), hiding(["hunter22"]):
        logging.getLogger("vmkiln.x").info("hunter22")
    assert "hunter22" not in capfd.readouterr().err


UNREAD = """
import logging, sys, time
from vmkiln import process_log
from vmkiln.setting_texts.declaration import LogFormat, LogLevel
from vmkiln.waiting import line_writer
process_log.STUCK_SECONDS = 0.1
process_log.set_up(LogLevel.INFO, LogFormat.JSON)
line_writer.MOST_WAITING_BYTES, line_writer.MOST_PRECIOUS_BYTES = 100_000, 200_000
with process_log.beside_the_loop():
    for number in range(2000):
        logging.getLogger("vmkiln.x").info("line %d %s", number, "x" * 100)
    for number in range(50):
        logging.getLogger(process_log.AUDIT).info("act %d", number)
    time.sleep(0.2)
    print(process_log.lost().lines, process_log.lost().precious, process_log.problem(), sep="|", flush=True)
    sys.stdin.readline()
    process_log.flush(20)
    logging.getLogger("vmkiln.x").info("read again")
    process_log.flush(20)
"""


def test_what_a_blocked_standard_error_cost_is_told_when_it_is_read_again() -> None:
    """Nothing of the audit is among it as long as there is room that others may not take."""
    with unread(UNREAD) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        lost, audit, problem = process.stdout.readline().decode().strip().split("|")
        assert int(lost) > 500
        assert audit == "0"
        assert "standard error has taken nothing for" in problem
        assert f"{lost} lines are lost" in problem
        process.stdin.close()
        told = process.stderr.read().lstrip(b"x").decode()
    lines = [json.loads(line) for line in told.splitlines()]
    [said] = [line for line in lines if "were lost here" in line["message"]]
    assert said["message"].startswith(f"{lost} lines of this log were lost here, 0 of them of the audit")
    assert said["level"] == "ERROR"
    assert sum(line["message"].startswith("act ") for line in lines) == 50
    assert sum(line["message"].startswith("line ") for line in lines) == 2000 - int(lost)


def test_a_line_that_cannot_be_made_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogLevel.INFO, LogFormat.TEXT)
    record = logging.LogRecord("vmkiln.x", logging.INFO, __file__, 1, "%d", ("no number",), None)
    process_log.MaskingHandler().handle(record)
    told = capsys.readouterr().err
    assert "a line of the log could not be made (vmkiln.x, test_process_log.py:" in told
    assert "TypeError" in told
