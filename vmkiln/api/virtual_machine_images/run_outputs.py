"""What a run put out, as clients see it.

Source: docs/reference/image-template.md#run-outputs.
"""

from typing import Any

from vmkiln.api.protocol.route import Call
from vmkiln.api.storage.storage_accounts import blob_endpoint
from vmkiln.azure_names import IMAGE_TEMPLATE, STORAGE_ACCOUNT
from vmkiln.store.rows import RunOutputRow


def run_output_body(call: Call, template_id: str, output: RunOutputRow) -> dict[str, Any]:
    """One output of the last run, as a resource."""
    return {
        "id": f"{template_id}/runOutputs/{output.name}",
        "name": output.name,
        "type": f"{IMAGE_TEMPLATE}/runOutputs",
        "properties": {"provisioningState": output.state, **_artifact(call, output)},
    }


def output_of_run(call: Call, output: RunOutputRow, *, group_id: str) -> dict[str, Any]:
    """One output in the body of its run; `blobId` is of a VHD in the storage account of the build.

    `group_id` is the staging resource group's, '' when there is none that the caller could ask for. Where a file lies
    on the host is told to this machine's operator only.
    """
    below = _below_staging(call, output)
    blob_id = {}
    if group_id and below is not None:
        account, container, name = below
        account_id = f"{group_id}/providers/{STORAGE_ACCOUNT}/{account}"
        blob_id = {"blobId": f"{account_id}/blobServices/default/containers/{container}/{name}"}
    artifact = _artifact(call, output)
    if artifact.get("artifactUri", "").startswith("file:") and not call.caller.is_local:
        del artifact["artifactUri"]
    named = {"name": output.name, "artifactId": "", "provisioningState": output.state}  # of a VHD it stays empty
    return {**named, **artifact, **blob_id}


def _artifact(call: Call, output: RunOutputRow) -> dict[str, str]:
    """The image's id, and of a VHD its URI: its blob's URL, as Azure tells, when the caller can reach blobs."""
    found = {}
    if output.artifact_id.startswith("/subscriptions/"):
        found["artifactId"] = output.artifact_id
    if output.artifact_uri:
        found["artifactUri"] = output.artifact_uri
    below, endpoint = _below_staging(call, output), blob_endpoint(call)
    if below is not None and endpoint is not None:
        found["artifactUri"] = f"{endpoint.url}/{'/'.join(below)}"
    return found


def _below_staging(call: Call, output: RunOutputRow) -> tuple[str, str, str] | None:
    """The account, the container and the name of a VHD that lies in the storage account of its build."""
    prefix = f"{call.service.settings.staging.as_uri()}/"
    if not output.artifact_uri.startswith(prefix):
        return None
    parts = output.artifact_uri.removeprefix(prefix).split("/")
    return (parts[1], parts[2], parts[3]) if len(parts) == 4 else None
