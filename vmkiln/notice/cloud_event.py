"""What is told, as CloudEvents; pure.

The id of an event belongs to what it tells: whoever looks at the same run again makes the same id, so a receiver that
is told twice can know it. Source: CloudEvents 1.0.2, "Context Attributes" and "JSON Event Format".
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from vmkiln.azure_names import ProvisioningState, utc_text
from vmkiln.harmless_text import harmless
from vmkiln.store.rows import RunOutputRow, RunRow

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
MOST_MESSAGE_LETTERS = 2000
_IDS = uuid.UUID("6b6d5e0c-2f0b-5c37-9a55-7c1f4f3a9f10")


class Kind(StrEnum):
    """What may be told, as the setting `notice_events` calls it."""

    RUN_ENDED = "run-ended"
    IMAGE_PUBLISHED = "image-published"
    TEMPLATE_SUSPENDED = "template-suspended"
    TEST = "test"


TYPES = {
    Kind.RUN_ENDED: "vmkiln.run.ended",
    Kind.IMAGE_PUBLISHED: "vmkiln.image.published",
    Kind.TEMPLATE_SUSPENDED: "vmkiln.template.suspended",
    Kind.TEST: "vmkiln.test",
}
Event = dict[str, Any]


def source_of(host_name: str) -> str:
    """The `source` of what a host tells: `/vmkiln/HOST`."""
    return f"/vmkiln/{quote(host_name, safe='')}"


def body_of(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent: the same bytes each time."""
    return json.dumps(event, sort_keys=True, separators=(",", ":")).encode()


def run_ended(run: RunRow, outputs: Sequence[RunOutputRow], *, source: str) -> Event:
    """A run came to its end, well or not."""
    data = {
        **_about(run),
        "state": run.state.value,
        "code": run.error_code,
        "message": _line(run.message),
        "started": utc_text(run.started),
        "ended": utc_text(_end(run)),
        "outputs": [{"name": one.name, "artifactId": one.artifact_id, "state": one.state.value} for one in outputs],
    }
    return _event(Kind.RUN_ENDED, run, data, source=source)


def images_published(run: RunRow, outputs: Sequence[RunOutputRow], *, source: str) -> list[Event]:
    """A run that ended has published these images, one event each."""
    return [
        _event(
            Kind.IMAGE_PUBLISHED,
            run,
            {**_about(run), "output": one.name, "artifactId": one.artifact_id},
            source=source,
            subject=one.artifact_id,
            name=one.name,
        )
        for one in outputs
        if one.state is ProvisioningState.SUCCEEDED
    ]


def template_suspended(run: RunRow, reason: str, *, source: str) -> Event:
    """After this run a template is not run by its trigger any more."""
    return _event(Kind.TEMPLATE_SUSPENDED, run, {**_about(run), "reason": _line(reason)}, source=source)


def tried(moment: datetime, *, source: str) -> Event:
    """What `vmkiln notice test` sends."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": source,
        "type": TYPES[Kind.TEST],
        "time": utc_text(moment),
        "datacontenttype": "application/json",
        "data": {"message": "vmkiln can tell you here what happens"},
    }


def _about(run: RunRow) -> dict[str, Any]:
    return {
        "runId": run.run_id,
        "template": run.template_name,
        "templateId": run.template_id,
        "resourceGroup": run.resource_group,
    }


def _event(
    kind: Kind, run: RunRow, data: Mapping[str, Any], *, source: str, subject: str = "", name: str = ""
) -> Event:
    told = "/".join((kind.value, run.run_id, _end(run).isoformat(), name))
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid5(_IDS, told)),
        "source": source,
        "type": TYPES[kind],
        "subject": subject or run.template_id or run.template_name or run.run_id,
        "time": utc_text(_end(run)),
        "datacontenttype": "application/json",
        "data": dict(data),
    }


def _end(run: RunRow) -> datetime:
    assert run.ended is not None  # only of such runs is anything told
    return run.ended


def _line(text: str) -> str:
    return " ".join(harmless(line) for line in text[:MOST_MESSAGE_LETTERS].splitlines())
