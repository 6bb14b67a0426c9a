"""The Azure SDK for Python against the service."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.imagebuilder import ImageBuilderClient
from real_clients import Az, Login, python_sdk
from test_azure_cli import template


@pytest.fixture
def client(login: Login, az: Az) -> ImageBuilderClient:
    return python_sdk(login)


def test_the_life_of_a_template(client: ImageBuilderClient, group_id: str) -> None:
    templates = client.virtual_machine_image_templates
    made = templates.begin_create_or_update("rg1", "sdk", template(group_id, "true")).result()
    assert made.properties.provisioning_state == "Succeeded"
    templates.begin_run("rg1", "sdk").result()
    found = templates.get("rg1", "sdk")
    assert found.properties.last_run_status.run_state == "Succeeded"
    assert [item.name for item in templates.list_run_outputs("rg1", "sdk")] == ["out"]
    assert templates.get_run_output("rg1", "sdk", "out").properties.provisioning_state == "Succeeded"
    assert "sdk" in [item.name for item in templates.list()]
    assert "sdk" in [item.name for item in templates.list_by_resource_group("rg1")]
    updated = templates.begin_update("rg1", "sdk", {"tags": {"a": "b"}}).result()
    assert updated.tags == {"a": "b"}
    trigger = {"properties": {"kind": "SourceImage"}}
    assert client.triggers.begin_create_or_update("rg1", "sdk", "t", trigger).result().name == "t"
    assert client.triggers.get("rg1", "sdk", "t").properties.status.code == "Healthy"
    assert len(list(client.triggers.list_by_image_template("rg1", "sdk"))) == 1
    client.triggers.begin_delete("rg1", "sdk", "t").result()
    assert len(list(client.operations.list())) > 10
    templates.begin_delete("rg1", "sdk").result()
    with pytest.raises(ResourceNotFoundError):
        templates.get("rg1", "sdk")


def test_a_run_that_fails_and_one_that_is_cancelled(client: ImageBuilderClient, group_id: str) -> None:
    templates = client.virtual_machine_image_templates
    templates.begin_create_or_update("rg1", "sdk2", template(group_id, "fail")).result()
    with pytest.raises(HttpResponseError) as failure:
        templates.begin_run("rg1", "sdk2").result()
    assert failure.value.error is not None
    assert failure.value.error.code == "PackerBuildFailed"
    templates.begin_create_or_update("rg1", "sdk3", template(group_id, "wait")).result()
    run = templates.begin_run("rg1", "sdk3")
    templates.begin_cancel("rg1", "sdk3").result()
    with pytest.raises(HttpResponseError):
        run.result()
    assert templates.get("rg1", "sdk3").properties.last_run_status.run_state == "Canceled"
    for name in ("sdk2", "sdk3"):
        templates.begin_delete("rg1", name).result()
