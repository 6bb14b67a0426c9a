"""What a run of an image template would do, of one that is kept and of one that is only written yet; starts nothing.

It hangs below the template, as its runs do: whoever may read the template may read what a run of it would do, and
whoever may make one may ask before making it, and is refused what would be refused then. The plan has the members that
`vmkiln plan --json` prints.
"""

from dataclasses import replace

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.virtual_machine_images.image_templates import ONE, find
from vmkiln.api.virtual_machine_images.sent_template import check_locations, check_name, sent_template
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.provisioning.planning import plan_of_kept, plan_of_new
from vmkiln.provisioning.stored_template import Kept, kept_of
from vmkiln.secrecy.secret_mask import SecretMask

PLAN = f"{ONE}/providers/Vmkiln.Builds/plan"


def get_plan(call: Call) -> Answer:
    """GET what a run of the template would do, as it is now; without its secrets."""
    return Answer(200, plan_of_kept(call.service.settings, call.service.store, find(call)))


def plan_new(call: Call) -> Answer:
    """POST the body of a template that is to be put at this address: what a run of it would do. Nothing is made.

    Its resource group may be missing, for it may be made with it.
    """
    name, store = call.names["imageTemplateName"], call.service.store
    check_name(name, "image template name")
    template_id = call.resource_id.rpartition("/providers/")[0]
    existing = store.resources.get(template_id)
    put = replace(call, resource_id=template_id, api_version=NEWEST_API_VERSION)
    template = sent_template(put, existing)
    if existing is None:
        check_locations(put, template)
    kept = Kept() if existing is None else kept_of(store, existing)
    plan = plan_of_new(
        call.service.settings,
        store,
        template,
        name=name,
        resource_group=call.names["resourceGroupName"],
        template_id=template_id.lower(),
        mask=SecretMask.of(call.secrets | kept.secrets),
    )
    return Answer(200, plan)


ROUTES = (
    Route("GET", PLAN, "Plans_Get", Permission.READ, get_plan),
    Route("POST", PLAN, "Plans_New", Permission.WRITE, plan_new, Body.JSON),
)
