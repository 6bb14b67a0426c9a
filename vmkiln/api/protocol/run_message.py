"""What is told of a run, in Azure's words; pure. Source: docs/reference/rest-api.md#on-the-wire."""

from vmkiln.azure_names import CUSTOMIZATION_LOG, STORAGE_ACCOUNT
from vmkiln.run_state import RunState
from vmkiln.store.rows import RunRow

TROUBLESHOOTING = "For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts."


def run_message(run: RunRow, *, staging_group_id: str = "") -> str:
    """Nothing on success, why it failed, and where the log is when Packer failed."""
    if run.state == RunState.CANCELING:
        return "Canceling image build"
    if run.error_code == "PackerBuildFailed" and staging_group_id:
        log = (
            f"{staging_group_id}/providers/{STORAGE_ACCOUNT}/{run.facts.get('storage_account', '')}"
            f"/blobServices/default/containers/packerlogs/{run.run_id}/{CUSTOMIZATION_LOG}"
        )
        return (
            f"{run.message}. During the image build a failure has occurred. Packer build logs are at location {log}. "
            "Please navigate to this location using portal or other tools to download logs for identifying which "
            f"build/customization step failed. Use this operationId {run.run_id} to search packer logs. "
            f"{TROUBLESHOOTING}"
        )
    return run.message
