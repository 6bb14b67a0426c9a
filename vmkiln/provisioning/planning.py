"""What a run of an image template would do here, as `vmkiln plan` tells it of a file; nothing is started."""

import contextlib
from collections.abc import Mapping
from typing import Any

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.buildable.egress_choice import check_guest_proxy, decided_egress, tag_mistakes
from vmkiln.buildable.examination import Surroundings, Verdict, examine
from vmkiln.errors import Mistake
from vmkiln.host.egress.egress_policy import OPEN_EGRESS
from vmkiln.provisioning.stored_template import kept_of, shown_body, template_of
from vmkiln.provisioning.submitting import Unfit, exact_version
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.rights import run_rights
from vmkiln.run.plan import plan_with
from vmkiln.run_failures import RightsLost
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import ResolvedTemplate


def plan_of_kept(settings: Settings, store: Store, row: ResourceRow) -> dict[str, Any]:
    """The plan of a run of a template that is kept, without its secrets; a run that may not begin is a problem.

    Raises: `TemplateInvalid`, `KeyUnavailable` as `template_of`; `InputError` for settings that do not go together.
    """
    template = template_of(store, row)
    api_version = str(row.state["api_version"])
    resolved = ResolvedTemplate(
        template, row.name, api_version, shown_body(row), template.warnings, kept_of(store, row).mask
    )
    problems: list[Mistake] = []
    try:
        run_rights.check(store, row, template)
    except RightsLost as error:
        problems.append(Mistake("rights", error.message, error.hint))
    return _plan(settings, store, resolved, resource_group=row.resource_group, template_id=row.key, problems=problems)


def plan_of_new(
    settings: Settings,
    store: Store,
    template: ImageTemplate,
    body: Mapping[str, Any],
    *,
    name: str,
    resource_group: str,
    template_id: str,
    mask: SecretMask,
) -> dict[str, Any]:
    """The same of a template that is not there yet. Raises: `InputError`."""
    shown = {member: value for member, value in body.items() if member.lower() in {"location", "tags", "properties"}}
    resolved = ResolvedTemplate(template, name, NEWEST_API_VERSION, shown, template.warnings, mask)
    return _plan(settings, store, resolved, resource_group=resource_group, template_id=template_id)


def _plan(
    settings: Settings,
    store: Store,
    resolved: ResolvedTemplate,
    *,
    resource_group: str,
    template_id: str,
    problems: list[Mistake] | None = None,
) -> dict[str, Any]:
    template = resolved.image_template
    networks = virtual_networks_for(store, template)
    surroundings = Surroundings(
        settings=settings,
        local_files=NO_LOCAL_FILES,
        opened_store=lambda: contextlib.nullcontext(store),
        template_name=resolved.name,
        resource_group=resource_group,
        virtual_networks=networks,
        is_store_open=True,
    )
    found = examine(template, surroundings)
    verdict = Verdict((*(problems or ()), *found.problems), found.warnings, found.needs_permission)
    is_wrong = any(tag_mistakes(template.tags))  # which is a problem already
    egress = decided_egress(settings.egress, OPEN_EGRESS, {} if is_wrong else template.tags)
    check_guest_proxy(egress, settings.guest_proxy)
    plan = plan_with(
        resolved,
        resource_group=resource_group,
        verdict=verdict,
        settings=settings,
        egress=egress,
        virtual_networks=networks,
        template_id=template_id,
    )
    with contextlib.suppress(Unfit):  # which is a problem already
        if version := exact_version(settings, store, template):
            plan["source"].setdefault("exact_version", version)
    return plan
