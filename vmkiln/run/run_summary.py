"""What a run came to, as plain data: for `vmkiln run show` and for `--json`."""

from datetime import datetime
from typing import Any

from vmkiln.store.database import Store
from vmkiln.store.run_facts import beside_confinement


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary_of(store: Store, run_id: str) -> dict[str, Any]:
    """A run with its phases, outputs and facts."""
    run = store.runs.find(run_id)
    return {
        "run_id": run.run_id,
        "template": run.template_name,
        "resource_group": run.resource_group,
        "state": str(run.state),
        "sub_state": run.sub_state or None,
        "message": run.message,
        "error_code": run.error_code or None,
        "started": _text(run.started),
        "ended": _text(run.ended),
        "staging_group": run.staging_group or None,
        "phases": [
            {
                "name": phase.name,
                "started": _text(phase.started),
                "ended": _text(phase.ended),
                "seconds": round((phase.ended - phase.started).total_seconds(), 3) if phase.ended else None,
            }
            for phase in store.runs.phases_of(run.run_id)
        ],
        "outputs": [
            {
                "name": row.name,
                "state": row.state,
                "artifact_id": row.artifact_id or None,
                "artifact_uri": row.artifact_uri or None,
                "message": row.message,
            }
            for row in store.images.outputs_of(run.run_id)
        ],
        "container_group_peak_kib": run.facts.get("build-vm_container_peak_kib"),
        "facts": beside_confinement(run.facts),
    }
