"""A run's log is read in pieces of a bounded size, from its beginning on or from its end."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import BASE, TEMPLATE, InProcess, code_of, run_with_blobs

from vmkiln.api.virtual_machine_images import past_runs
from vmkiln.fleet.log_retention import NOTE
from vmkiln.host.network.flow_log import FlowEntry
from vmkiln.run_state import PartKind
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.store.timeline.part_table import PartRow

RUN_ID = str(uuid.UUID(int=7))
LOG = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN_ID}/log"
KIB, MIB = 1024, 1024**2
Write = Callable[[bytes], Path]


@pytest.fixture
def write(living: InProcess) -> Write:
    """Writes the log of a run that has ended."""
    account = run_with_blobs(living, RUN_ID)

    def written(content: bytes) -> Path:
        path = account.blob(f"packerlogs/{RUN_ID}/customization.log")
        path.write_bytes(content)
        return path

    return written


def piece(service: InProcess, **query: object) -> dict[str, Any]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    answer = service.get(f"{BASE}{LOG}?{asked}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_one_answer_has_at_most_256_kibibytes_however_long_lines_are(living: InProcess, write: Write) -> None:
    line = b"x" * (100 * KIB - 1) + b"\n"
    write(line * 50)
    position, counts, is_complete = 0, [], False
    while not is_complete:
        found = piece(living, position=position)
        assert found["startPosition"] == position
        position, is_complete = found["position"], found["isComplete"]
        counts.append(len(found["lines"]))
    assert (position, counts) == (50 * len(line), [2] * 25)


def test_lines_are_told_with_their_times_when_asked(living: InProcess, write: Write) -> None:
    path = write(b"one\ntwo\nthree\n")
    with LogIndex(path) as index:
        index.step = "install"
        index.note(4, 1.5)
    known = {"time": "1970-01-01T00:00:01.500Z", "step": "install"}
    assert piece(living, times="true")["times"] == [None, known, known]
    assert piece(living, tail=1, times="true")["times"] == [known]
    assert "times" not in piece(living)


def test_the_tail_has_at_most_256_kibibytes_too(living: InProcess, write: Write) -> None:
    write((b"x" * (100 * KIB - 1) + b"\n") * 50)
    assert len(piece(living, tail=50)["lines"]) == 2


def test_a_line_longer_than_an_answer_comes_in_parts(living: InProcess, write: Write) -> None:
    write(b"x" * (3 * MIB + 5) + b"\nend\n")
    position, lines = 0, []
    while not (found := piece(living, position=position))["isComplete"]:
        assert len(found["lines"]) >= 1
        position = found["position"]
        lines += found["lines"]
    assert "".join([*lines, *found["lines"]]) == "x" * (3 * MIB + 5) + "end"


def test_a_piece_that_ends_where_the_log_does_is_complete(living: InProcess, write: Write) -> None:
    write(b"line\n" * past_runs.MOST_LINES)
    found = piece(living)
    assert (len(found["lines"]), found["isComplete"]) == (past_runs.MOST_LINES, True)
    write(b"line\n" * (past_runs.MOST_LINES + 1))
    assert not piece(living)["isComplete"]


def test_the_tail_is_the_end_and_says_where_it_begins(living: InProcess, write: Write) -> None:
    write(b"".join(b"line %d\n" % number for number in range(5000)))
    found = piece(living, tail=3)
    assert found["lines"] == ["line 4997", "line 4998", "line 4999"]
    assert (found["position"] - found["startPosition"], found["isComplete"]) == (3 * len("line 4999\n"), True)
    assert piece(living, position=found["startPosition"])["lines"] == found["lines"]
    whole = piece(living, tail=past_runs.MOST_LINES, kind="validation")
    assert (whole["lines"], whole["startPosition"], whole["isComplete"]) == ([], 0, True)


@pytest.mark.parametrize(
    "query",
    ["tail=2001", "tail=x", "position=-1", "tail=1&position=0", "tail=1&position=5", f"position={'0' * 20}{'9' * 30}"],
)
def test_what_is_asked_for_is_checked(living: InProcess, write: Write, query: str) -> None:
    write(b"line\n")
    refused = living.get(f"{BASE}{LOG}?{query}")
    assert (refused.status_code, code_of(refused)) == (400, "InvalidParameter")


def test_the_tail_of_a_long_log_reads_only_the_end(living: InProcess, write: Write) -> None:
    path = write(b"")
    with path.open("wb") as file:
        file.truncate(16 * 1024**3)  # sparse: to read it all would take minutes
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"line\n" * 5000)
    before = read_bytes()
    assert len(piece(living, tail=100)["lines"]) == 100
    assert read_bytes() - before < 8 * MIB


def read_bytes() -> int:
    """What this process has read so far, from caches too (proc_pid_io(5))."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_flow_log_of_a_run_is_told_entry_by_entry(living: InProcess, write: Write) -> None:
    flows = write(b"").with_name("flows.jsonl")
    entries = [
        FlowEntry(
            "2026-01-02T03:04:05.000+00:00",
            "build-vm",
            "Customizing: update",
            "deb.example",
            "203.0.113.10",
            443,
            "tcp",
        )
        for _ in range(3)
    ]
    flows.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in entries) + '{"dropped": 7}\n{"torn')
    answer = living.get(f"{BASE}{LOG.removesuffix('/log')}/flows").json()
    assert answer["value"] == [asdict(entry) for entry in entries]
    assert (answer["dropped"], answer["isComplete"]) == (7, True)
    flows.write_text("")
    assert living.get(f"{BASE}{LOG.removesuffix('/log')}/flows").json()["value"] == []


def test_a_flow_log_that_is_not_there_any_more_is_not_told_as_an_empty_one(living: InProcess, write: Write) -> None:
    flows = write(b"").with_name("flows.jsonl")
    asked = f"{BASE}{LOG.removesuffix('/log')}/flows"
    answer = living.get(asked)
    assert (answer.status_code, code_of(answer)) == (404, "FlowLogNotFound")
    flows.write_bytes(NOTE)
    for query in ("", "?tail=10"):
        answer = living.get(f"{asked}{query}")
        assert (answer.status_code, code_of(answer)) == (410, "FlowLogNotKept")
    assert "run_logs_kept_days" in answer.text


def test_the_receipts_of_a_run_are_told(living: InProcess, write: Write) -> None:
    store = living.service.store
    numbers = [store.staging.add_resource("IT_x", run_id=RUN_ID, type="t", name=name, detail={}) for name in "ab"]
    store.staging.resource_deleted(numbers[0])
    store.staging.resources_gone(numbers)
    gone, there = living.get(f"{BASE}{LOG.removesuffix('/log')}/receipts").json()["value"]
    assert (gone["name"], gone["group"], gone["made"] <= gone["deleted"] <= gone["verifiedGone"]) == ("a", "IT_x", True)
    assert (there["name"], there["deleted"], there["verifiedGone"]) == ("b", None, None)


def test_what_held_each_process_of_a_run_is_told(living: InProcess, write: Write) -> None:
    write(b"")
    fact = {"name": "user id", "expected": "40000", "found": "40000", "holds": True, "required": True}
    living.service.store.runs.add_facts(RUN_ID, **{"build-vm_confinement": [fact]})  # type: ignore[arg-type]
    run = LOG.removesuffix("/log")
    assert living.get(f"{BASE}{run}/confinement").json() == {"value": {"build-vm": [fact]}}
    assert "confinement" not in json.dumps(living.get(f"{BASE}{run}").json()), "it is long, and asked for by itself"


def test_a_timeline_is_told_with_the_runs_it_is_compared_with(living: InProcess, write: Write) -> None:
    write(b"")
    store = living.service.store
    run = store.runs.find(RUN_ID)
    before = replace(run, run_id=str(uuid.UUID(int=6)), started=run.started - timedelta(hours=1))
    store.runs.add(before)
    for row, seconds in ((run, 3), (before, 4)):
        ended = row.started + timedelta(seconds=seconds)
        part = PartRow(row.run_id, 1, 0, PartKind.CUSTOMIZER, "install", row.started, ended, 2.5, 2048)
        store.timelines.put([part])
    answer = living.get(f"{BASE}{LOG.removesuffix('/log')}/timeline").json()
    assert answer["comparedWith"] == [before.run_id]
    part_body = {name: answer["value"][0][name] for name in ("kind", "name", "seconds", "cpuSeconds", "usualSeconds")}
    assert part_body == {"kind": "customizer", "name": "install", "seconds": 3, "cpuSeconds": 2.5, "usualSeconds": 4}
    assert answer["value"][0]["peakKiB"] == 2048
