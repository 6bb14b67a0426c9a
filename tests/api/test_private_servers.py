"""A caller's template does not make the service fetch from private servers, but from those that the operator allows."""

from pathlib import Path
from typing import Any

import pytest
from asked_server import BODY, OUR_SERVERS, serving
from in_process import TEMPLATE, InProcess, TestAccess, a_template, add_group, provisioned
from service_fixtures import living_service

from vmkiln.fetching.transport import REFUSED

ALLOWED = OUR_SERVERS["VMKILN_PRIVATE_SERVERS"]
STEPS = (
    {"customize": [{"type": "Shell", "name": "s", "scriptUri": "{url}"}]},
    {"customize": [{"type": "File", "name": "f", "sourceUri": "{url}", "destination": "/tmp/x"}]},
    {"validate": {"inVMValidations": [{"type": "Shell", "name": "v", "scriptUri": "{url}"}]}},
)


def put(service: InProcess, home: Path, steps: Any, url: str) -> tuple[dict[str, Any], list[bytes]]:
    """The template as it is then, and what the service copied."""
    add_group(service)
    [member] = steps
    items = steps[member]["inVMValidations"] if member == "validate" else steps[member]
    filled = [{name: value.format(url=url) for name, value in items[0].items()}]
    properties = {member: {"inVMValidations": filled} if member == "validate" else filled}
    found = provisioned(service, TEMPLATE, a_template(**properties))["properties"]
    return found, [path.read_bytes() for path in (home / "staging").rglob("scripts/*")]


@pytest.mark.parametrize("steps", STEPS, ids=["script", "file", "validation"])
def test_a_template_gets_nothing_from_this_machine(tmp_path: Path, access: TestAccess, steps: Any) -> None:
    with serving() as server:
        server.redirects["/go"] = "/inside"
        with living_service(tmp_path / "a", access, tmp_path / "a.sqlite") as service:
            found, copied = put(service, tmp_path / "a", steps, server.url("/go"))
        assert found["provisioningState"] == "Failed"
        assert REFUSED in found["provisioningError"]["message"]
        assert (copied, server.asked) == ([], [])
        allowing = living_service(tmp_path / "b", access, tmp_path / "b.sqlite", private_servers=ALLOWED)
        with allowing as service:  # the twin: the server is there
            found, copied = put(service, tmp_path / "b", steps, server.url("/go"))
        assert (found["provisioningState"], copied) == ("Succeeded", [BODY])
