"""What Ansible's `azure_rm_resource` and `azure_rm_resource_info` ask, with their reading of the answers.

They send any request through `azure-core`, take 200, 201 and 202 for good, and with `polling_timeout` wait for a 202 by
the ARM poller, without saying where the final state is. An end without a body is a failure to them. Ansible itself is
not run by the tests: its collection imports some forty SDKs. Source: azure.azcollection 3.1.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import ContentDecodePolicy, HeadersPolicy, RequestIdPolicy, RetryPolicy
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.mgmt.core.polling.arm_polling import ARMPolling
from real_clients import SUBSCRIPTION, Login
from test_azure_cli import template

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ansible"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web"
VERSION = "2022-07-01"
TRIES = 300
WAIT_SECONDS = 60


class Tasks:
    """The tasks of a playbook, one request each."""

    def __init__(self, client: "PipelineClient[Any, Any]") -> None:
        self.client = client

    def sent(self, method: str, url: str, body: Any = None, *, version: str = VERSION) -> Any:
        """The answer to one request, however it ends."""
        headers = {"Content-Type": "application/json; charset=utf-8"}
        request = HttpRequest(method, url, params={"api-version": version}, headers=headers, json=body)
        request.url = self.client.format_url(request.url)
        return self.client.send_request(request)

    def made(self) -> str:
        """The state in which the template's provisioning ends, as a task with `until` and `retries` sees it."""
        for _ in range(TRIES):
            state = str(json.loads(self.sent("GET", TEMPLATE).text())["properties"]["provisioningState"])
            if state != "Creating":
                return state
            time.sleep(0.1)
        raise AssertionError("the template stays Creating")

    def waited(self, method: str, url: str) -> Any:
        """What the poller returns for a request that was accepted: the body of its end; none is a failure."""
        request = HttpRequest(method, self.client.format_url(url), params={"api-version": VERSION})
        pipeline: Any = self.client._pipeline
        first: PipelineResponse[Any, Any] = pipeline.run(request)
        assert first.http_response.status_code == 202, first.http_response.text()
        poller: LROPoller[Any] = LROPoller(self.client, first, lambda response: response, ARMPolling(1))
        poller.wait(timeout=WAIT_SECONDS)
        end = poller.result()
        return None if end is None else end.context["deserialized_data"]


@pytest.fixture
def tasks(login: Login) -> Iterator[Tasks]:
    """A playbook's session, logged in with a secret."""
    trust: dict[str, Any] = {"connection_verify": str(login.authority)}
    credential = ClientSecretCredential(
        login.tenant, login.app_id, login.secret, authority=login.url, disable_instance_discovery=True, **trust
    )
    token = credential.get_token(f"{login.url}/.default").token
    policies = [
        HeadersPolicy({"Authorization": f"Bearer {token}"}),
        RequestIdPolicy(),
        RetryPolicy(),
        ContentDecodePolicy(),
    ]
    with PipelineClient[Any, Any](login.url, policies=policies, **trust) as client:
        yield Tasks(client)


def test_a_playbook_makes_runs_reads_and_deletes_a_template(tasks: Tasks) -> None:
    assert tasks.sent("PUT", GROUP, {"location": "westus2"}, version="2021-04-01").status_code == 201
    assert tasks.sent("GET", TEMPLATE).status_code == 404
    assert tasks.sent("PUT", TEMPLATE, template(GROUP, "true")).status_code == 201
    assert tasks.made() == "Succeeded"
    assert tasks.waited("POST", f"{TEMPLATE}/run")["status"] == "Succeeded"
    read = json.loads(tasks.sent("GET", TEMPLATE).text())
    assert read["properties"]["lastRunStatus"]["runState"] == "Succeeded"
    output = json.loads(tasks.sent("GET", f"{TEMPLATE}/runOutputs/out").text())
    assert output["properties"]["artifactId"].endswith("/images/web")
    tasks.waited("DELETE", TEMPLATE)
    assert tasks.sent("GET", TEMPLATE).status_code == 404
