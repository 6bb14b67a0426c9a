"""What a run came to, as plain data: for `vmkiln run show` and for `--json`."""

from typing import Any

from vmkiln.run.timeline.comparison import part_data, time_text
from vmkiln.store.database import Store
from vmkiln.store.rows import seconds_between
from vmkiln.store.run_facts import beside_confinement


def summary_of(store: Store, run_id: str) -> dict[str, Any]:
    """A run with its phases, the parts of its timeline, its outputs and facts."""
    run = store.runs.find(run_id)
    return {
        "run_id": run.run_id,
        "template": run.template_name,
        "resource_group": run.resource_group,
        "state": str(run.state),
        "sub_state": run.sub_state or None,
        "message": run.message,
        "error_code": run.error_code or None,
        "started": time_text(run.started),
        "ended": time_text(run.ended),
        "staging_group": run.staging_group or None,
        "phases": [
            {
                "name": phase.name,
                "started": time_text(phase.started),
                "ended": time_text(phase.ended),
                "seconds": round(seconds_between(phase.started, phase.ended), 3) if phase.ended else None,
            }
            for phase in store.runs.phases_of(run.run_id)
        ],
        "timeline": [part_data(part) for part in store.timelines.of_runs([run.run_id])[run.run_id]],
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
