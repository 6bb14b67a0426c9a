"""Azure's error codes and messages, each where it occurs.

Source: docs/reference/rest-api.md#on-the-wire; docs/reference/image-template.md#template;
docs/reference/behaviour.md#updates, #interlocks.
"""

from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, code_of, ended_run, provisioned, wait_for

from vmkiln.errors import HostUnfit
from vmkiln.provisioning import submitting
from vmkiln.staging import script_copy

GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/none"
MISSING_SCRIPT = {"type": "Shell", "scriptUri": "https://localhost:1/none.sh"}


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def platform(**members: str) -> dict[str, Any]:
    return {
        "type": "PlatformImage",
        "publisher": "Debian",
        "offer": "debian-12",
        "sku": "12",
        "version": "latest",
    } | members


@pytest.mark.parametrize(
    ("code", "properties"),
    [
        ("BadPIRSource", {"source": platform(sku="no-such-sku")}),
        ("BadPIRSource", {"source": platform(version="1.2.3")}),
        (
            "BadManagedImageSource",
            {"source": {"type": "ManagedImage", "imageId": f"{GROUP}/providers/Microsoft.Compute/images/none"}},
        ),
        (
            "BadSharedImageVersionSource",
            {"source": {"type": "SharedImageVersion", "imageVersionId": f"{GALLERY}/versions/latest"}},
        ),
        ("NoCustomizerScript", {"customize": [MISSING_SCRIPT]}),
        ("NoValidatorScript", {"validate": {"inVMValidations": [MISSING_SCRIPT]}}),
        (
            "BadDistributeType",
            {
                "distribute": [
                    {
                        "type": "ManagedImage",
                        "runOutputName": "o",
                        "imageId": f"{GROUP}x/providers/Microsoft.Compute/images/i",
                        "location": "westus2",
                    }
                ]
            },
        ),
        (
            "BadSharedImageDistribute",
            {"distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": GALLERY}]},
        ),
    ],
)
def test_a_template_that_cannot_be_provisioned_says_why(
    live: InProcess, monkeypatch: pytest.MonkeyPatch, code: str, properties: dict[str, Any]
) -> None:
    monkeypatch.setattr(script_copy, "FIRST_PAUSE_SECONDS", 0.001)
    live.access.roles["owner"] = [("Owner", "/")]
    response = live.put(TEMPLATE, a_template(**properties))
    assert response.status_code == 201, response.text
    url = response.headers["Azure-AsyncOperation"]
    end = wait_for(
        lambda: (found := live.get(url, api_version=None).json())["status"] != "InProgress" and found, seconds=60
    )
    assert (end["status"], end["error"]["code"]) == ("Failed", code)
    found = live.get(TEMPLATE).json()["properties"]
    assert found["provisioningState"] == "Failed"
    assert found["provisioningError"] == {"provisioningErrorCode": code, "message": end["error"]["message"]}


@pytest.mark.parametrize(
    ("error", "code"), [(HostUnfit("no room"), "Other"), (RuntimeError("secret details"), "ServerError")]
)
def test_an_error_without_azures_code_is_other_and_ours_is_server_error(
    live: InProcess, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_arguments: Any, **_named: Any) -> None:
        raise error

    monkeypatch.setattr(submitting, "exact_version", fail)
    found = provisioned(live, TEMPLATE, a_template())["properties"]
    assert found["provisioningError"]["provisioningErrorCode"] == code
    assert "secret details" not in str(found)
    assert live.request("DELETE", TEMPLATE).status_code == 202


def test_an_iso_source_of_the_previews_is_a_bad_source_type(live: InProcess) -> None:
    source = {"type": "ISO", "sourceUri": "https://example.org/rhel.iso", "sha256Checksum": "0" * 64}
    found = provisioned(live, TEMPLATE, a_template(source=source), api_version="2019-05-01-preview")
    assert found["properties"]["provisioningError"]["provisioningErrorCode"] == "BadSourceType"


def test_a_windows_customizer_on_linux_is_refused_by_its_own_code(service: InProcess) -> None:
    add_group(service)
    body = a_template(customize=[{"type": "PowerShell", "inline": ["dir"]}])
    response = service.put(TEMPLATE, body)
    assert (response.status_code, code_of(response)) == (400, "CustomizerNotSupportedForImage")
    message = response.json()["error"]["message"]
    told = (
        "Customizer PowerShell is not supported on Linux images. Check the customizers referenced in the Image Builder"
    )
    assert message.startswith(told)
    body["properties"]["buildTimeoutInMinutes"] = 5
    both = service.put(TEMPLATE, body).json()["error"]
    assert both["code"] == "ValidationFailed"
    assert {item["code"] for item in both["details"]} == {"ValidationFailed", "CustomizerNotSupportedForImage"}


def test_the_messages_of_mistakes_are_azures(service: InProcess) -> None:
    add_group(service)
    review = "Please review http://aka.ms/azvmimagebuildertmplref for details on fields"
    body = a_template(distribute=[{"type": "VHD"}], optimize={"vmboot": {}})
    details = [item["message"] for item in service.put(TEMPLATE, body).json()["error"]["details"]]
    assert details[0] == (
        "Unmarshalling entity encountered error: unmarshalling type *v2025_10_01.ImageTemplate: struct field "
        'Properties: struct field Optimize: unknown field "vmboot" (did you mean `vmBoot`?). There is an issue with '
        f"the syntax with the JSON template you are submitting. {review} requirements in the Image Builder Template."
    )
    missing = "Validation failed: 'ImageTemplate.properties.distribute[0]': Missing field runOutputName."
    assert details[1] == f"{missing} {review} required in the Image Builder Template."
    body = a_template(source={"type": "ManagedImage", "imageId": "x"})
    bad = service.put(TEMPLATE, body).json()["error"]["message"]
    assert bad.startswith("Validation failed: 'ImageTemplate.properties.source': Field 'imageId' has a bad value: ")
    assert bad.endswith(f". {review} requirements in the Image Builder Template.")


def test_a_patchs_lost_target_and_missing_field_are_in_azures_words(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template())
    lost = live.request("PATCH", TEMPLATE, {"properties": {"distribute": []}})
    assert (lost.status_code, code_of(lost)) == (400, "ValidationFailed")
    assert lost.json()["error"]["message"] == (
        "Validation failed: Distribute target with Runoutput name out not found in the update request. "
        "Deleting a distribution target is not allowed."
    )
    partly = {"properties": {"distribute": [{"type": "ManagedImage", "runOutputName": "out"}]}}
    message = live.request("PATCH", TEMPLATE, partly).json()["error"]["message"]
    assert "Validation failed: 'ImageTemplate.properties.distribute[0]': Missing field imageId. " in message


def test_a_failed_run_tells_where_its_log_is_in_its_status_and_its_operation(live: InProcess) -> None:
    template = provisioned(live, TEMPLATE, a_template("fail"))
    url = live.request("POST", f"{TEMPLATE}/run").headers["Azure-AsyncOperation"]
    message = ended_run(live, TEMPLATE)["message"]
    error = live.get(url, api_version=None).json()["error"]
    assert error == {"code": "PackerBuildFailed", "message": message}
    group = template["properties"]["exactStagingResourceGroup"]
    run_id = live.service.store.runs.of_template(TEMPLATE)[0].run_id
    told = message.partition("During the image build a failure has occurred. ")[2]
    assert told.startswith(f"Packer build logs are at location {group}/providers/Microsoft.Storage/storageAccounts/")
    assert told.endswith(
        f"/blobServices/default/containers/packerlogs/{run_id}/customization.log. Please navigate to this location "
        "using portal or other tools to download logs for identifying which build/customization step failed. "
        f"Use this operationId {run_id} to search packer logs. For more troubleshooting steps go to "
        "https://aka.ms/azvmimagebuilderts."
    )


def test_what_a_templates_state_forbids_is_told_in_azures_words(service: InProcess) -> None:
    add_group(service)
    service.put(TEMPLATE, a_template())
    creating = service.request("DELETE", TEMPLATE)
    assert (creating.status_code, code_of(creating)) == (409, "OperationNotAllowed")
    said = "Operation 'DELETE' is not allowed in provisioningState: 'creating'"
    assert creating.json()["error"]["message"] == said
    early = service.request("POST", f"{TEMPLATE}/run").json()["error"]
    assert early == {
        "code": "OperationNotAllowed",
        "message": "Operation Microsoft.VirtualMachineImages/imageTemplates/run/action is not allowed in "
        "provisioning state: creating or run state: .",
    }


def test_a_second_cancel_is_refused_in_azures_words(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template("wait"))
    live.request("POST", f"{TEMPLATE}/run")
    wait_for(lambda: live.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    run_id = live.service.store.runs.of_template(TEMPLATE)[0].run_id
    assert live.service.store.runs.ask_to_cancel(run_id)
    status = live.get(TEMPLATE).json()["properties"]["lastRunStatus"]
    assert (status["runState"], status["message"]) == ("Canceling", "Canceling image build")
    second = live.request("POST", f"{TEMPLATE}/cancel")
    assert (second.status_code, code_of(second)) == (409, "OperationNotAllowed")
    assert second.json()["error"]["message"] == (
        "Operation Microsoft.VirtualMachineImages/imageTemplates/cancel/action is not allowed in provisioning state: "
        "provisioned or run state: canceling."
    )
    live.service.builder.cancel(run_id)
    assert ended_run(live, TEMPLATE)["runState"] == "Canceled"
