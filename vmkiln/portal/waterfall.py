"""Where a run's time went: one bar for each part of its timeline, against what is usual; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkiln.run_state import PartKind, Phase, RunState, Start

OK, LIVE, FAILED, OVER = "ok", "live", "failed", "over"
HOW_IT_ENDED = {RunState.FAILED: FAILED, RunState.CANCELED: OVER}
BEGAN = {Start.WARM: "warm", Start.KEPT: "kept from before"}
LABELS = {
    PartKind.QUEUE: "Waiting",
    PartKind.STAGING: "Staging",
    PartKind.BOOT: "Boot",
    PartKind.CHECKPOINT: "Kept behind",
    PartKind.DEPROVISION: "Deprovision",
    PartKind.POWER_OFF: "Power off",
    PartKind.GATE: "Gate",
    PartKind.FLATTEN: "Flatten",
    PartKind.SHARE: "Share",
    PartKind.PUBLISH: "Publish",
    PartKind.CLEAN_UP: "Clean up",
}  # the others have a name of their own


@dataclass(frozen=True)
class Bar:
    """A part: where its bar begins and how wide it is (percent of the run), how long it took, and usually takes.

    `state` is ok, live, failed, or over for what a cancel ended. `start` and `end` are seconds since 1970; `note` says
    what it began from, '' for nothing. `cpu_seconds` and `peak_bytes` are what VMs and programs of the run took in a
    part that has ended, None where that is not known.
    """

    name: str
    kind: str
    state: str
    left: float
    width: float
    seconds: float
    usual_seconds: float | None
    start: float
    end: float | None
    note: str = ""
    cpu_seconds: float | None = None
    peak_bytes: int | None = None


def moment(text: str | None) -> datetime | None:
    """A time as ARM writes it (ISO 8601 with a Z)."""
    return datetime.fromisoformat(text) if text else None


def waterfall(run: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], now: datetime) -> list[Bar]:
    """The bars of a run: of its timeline's parts, else of its phases; `now` ends what goes on."""
    items = [part for part in parts if part["startTime"]] if len(parts) > 1 else []
    if not items:
        items = [phase for phase in run["phases"] if phase["startTime"]]
    if not items:
        return []
    begin = min(_epoch(item["startTime"]) for item in items)
    whole = max(_epoch(item["endTime"], now) for item in items) - begin or 1.0
    ended = _ended(items, run)
    attempts = max(int(item.get("attempt", 1)) for item in items)
    found = []
    for index, item in enumerate(items):
        start, end = _epoch(item["startTime"]), _epoch(item["endTime"], now)
        state = ended.get(index, LIVE if item["endTime"] is None else OK)
        found.append(
            Bar(
                name=_label(item, attempts),
                kind=str(item.get("kind", "")),
                state=state,
                left=round(100 * (start - begin) / whole, 2),
                width=round(max(0.4, 100 * (end - start) / whole), 2),
                seconds=max(0.0, end - start),
                usual_seconds=item.get("usualSeconds"),
                start=start,
                end=None if item["endTime"] is None else end,
                note=BEGAN.get(item.get("start", ""), ""),
                **_taken(item),
            )
        )
    return found


def _taken(item: Mapping[str, Any]) -> dict[str, Any]:
    """What a part took of its host; of one that goes on nothing, for it would stand still on the page."""
    peak = item.get("peakKiB")
    if item["endTime"] is None:
        return {}
    return {"cpu_seconds": item.get("cpuSeconds"), "peak_bytes": None if peak is None else int(peak) * 1024}


def _epoch(text: str | None, now: datetime | None = None) -> float:
    found = moment(text) or now
    return 0.0 if found is None else round(found.timestamp(), 3)


def _ended(items: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> dict[int, str]:
    """How those parts ended that did not go well, by their numbers.

    A run that failed or was cancelled was at its last part but the clean-up; one whose validation failed goes on to
    distribute where its template says so, and fails for the validation.
    """
    state, has_failed = RunState(run["runState"]), bool(run.get("hasFailedValidation"))
    before_clean_up = [
        number
        for number, item in enumerate(items)
        if item.get("kind") != PartKind.CLEAN_UP and item.get("name") != Phase.CLEANING_UP
    ]
    found = {}
    if state in HOW_IT_ENDED and before_clean_up and not (state == RunState.FAILED and has_failed):
        found[before_clean_up[-1]] = HOW_IT_ENDED[state]
    # to a VM that booted last nobody could log in
    for wanted in (PartKind.VALIDATION, PartKind.BOOT, "") if has_failed else ():
        numbers = [number for number, item in enumerate(items) if _is_validating(item, wanted)]
        if numbers:
            found[numbers[-1]] = FAILED
            break
    return found


def _is_validating(item: Mapping[str, Any], kind: str) -> bool:
    """Whether it is a part of a kind, or without one the phase Validating; pure."""
    return str(item.get("kind", "")) == kind and (bool(kind) or item.get("name") == Phase.VALIDATING)


def _label(item: Mapping[str, Any], attempts: int) -> str:
    name, kind = str(item.get("name", "")), item.get("kind", "")
    words = [LABELS[PartKind(kind)], name] if kind in LABELS else [name]
    attempt = f"(attempt {item['attempt']})" if attempts > 1 and "attempt" in item else ""
    return " ".join(word for word in (*words, attempt) if word)
