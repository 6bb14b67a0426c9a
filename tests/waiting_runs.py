"""Image templates that are kept, each with a run that waits; written straight into the database, many at once."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vmkiln.fleet.image_builder import queued_run
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow

TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
WAITED = timedelta(days=1)


def add_waiting_runs(
    store: Store,
    numbers: range,
    *,
    subscriptions: Sequence[str],
    properties: Mapping[str, Any],
    resource_group: str,
    staging_group: str,
) -> list[str]:
    """One template with its run for each number, the subscriptions in turn; gives the ids of the runs, oldest first."""
    rows = []
    for number in numbers:
        subscription = subscriptions[number % len(subscriptions)]
        group = f"/subscriptions/{subscription}/resourceGroups/{resource_group}"
        rows.append(
            ResourceRow(
                id=f"{group}/providers/{TYPE}/t{number:06}",
                type=TYPE,
                name=f"t{number:06}",
                subscription_id=subscription,
                resource_group=resource_group,
                location="local",
                identity={"type": "None"},
                properties=properties,
                state={"api_version": "2025-10-01", "staging_group": staging_group},
                created_by="local operator",
            )
        )
    store.resources.insert_many(rows)
    begin = datetime.now(UTC) - WAITED
    runs = [queued_run(row, run_id=str(uuid.uuid4()), reason="request") for row in rows]
    store.runs.add_many(
        [type(run)(**{**vars(run), "started": begin + timedelta(seconds=n)}) for n, run in enumerate(runs)]
    )
    return [run.run_id for run in runs]
