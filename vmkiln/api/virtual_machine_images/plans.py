"""What a run of an image template would do, of one that is kept and of one that is only written yet; starts nothing.

It hangs below the template, as its runs do: whoever may read the template may read what a run of it would do, and
whoever may make one may ask before making it. The plan has the members that `vmkiln plan --json` prints.
"""

from dataclasses import replace

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.virtual_machine_images.image_templates import ONE, check_name, checked, find
from vmkiln.api.virtual_machine_images.references import check_references
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.provisioning.planning import plan_of_kept, plan_of_new
from vmkiln.secrecy.secret_mask import SecretMask

PLAN = f"{ONE}/providers/Vmkiln.Builds/plan"


def get_plan(call: Call) -> Answer:
    """GET what a run of the template would do, as it is now; without its secrets."""
    return Answer(200, plan_of_kept(call.service.settings, call.service.store, find(call)))


def plan_new(call: Call) -> Answer:
    """POST the body of a template that is to be made at this address: what a run of it would do. Nothing is made."""
    name = call.names["imageTemplateName"]
    check_name(name, "image template name")
    template = checked(replace(call, api_version=NEWEST_API_VERSION), call.body)
    check_references(call, template)
    plan = plan_of_new(
        call.service.settings,
        call.service.store,
        template,
        call.body,
        name=name,
        resource_group=call.names["resourceGroupName"],
        template_id=call.resource_id.rpartition("/providers/")[0].lower(),
        mask=SecretMask.of(call.secrets),
    )
    return Answer(200, plan)


ROUTES = (
    Route("GET", PLAN, "Plans_Get", Permission.READ, get_plan),
    Route("POST", PLAN, "Plans_New", Permission.WRITE, plan_new, Body.JSON),
)
