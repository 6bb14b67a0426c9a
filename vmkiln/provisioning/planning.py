"""What a run of an image template would do here, as `vmkiln plan` tells it of a file; nothing is started."""

import contextlib
from collections.abc import Mapping
from typing import Any

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.buildable.egress_choice import check_guest_proxy, decided_egress, tag_mistakes
from vmkiln.buildable.examination import Surroundings, Verdict, examine
from vmkiln.errors import InputError, Mistake
from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressPolicy
from vmkiln.provisioning.stored_template import given_properties, kept_of, shown_body, template_of
from vmkiln.provisioning.submitting import Unfit, exact_version
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.rights import run_rights
from vmkiln.run.plan import plan_with
from vmkiln.run_failures import RightsLost
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.staging.user_network import UserVirtualNetwork
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import ResolvedTemplate

NETWORK, EGRESS = "properties.vmProfile.vnetConfig", "egress"  # where a problem is


def plan_of_kept(settings: Settings, store: Store, row: ResourceRow) -> dict[str, Any]:
    """The plan of a run of a template that is kept, without its secrets; a run that may not begin is a problem.

    Where the rights of its runs are gone, nothing that it names is looked at: who lost them could follow it by that.
    Raises: `TemplateInvalid`, `KeyUnavailable` as `template_of`.
    """
    template = template_of(store, row)
    api_version = str(row.state["api_version"])
    resolved = ResolvedTemplate(
        template, row.name, api_version, shown_body(row), template.warnings, kept_of(store, row).mask
    )
    try:
        run_rights.check(store, row, template)
    except RightsLost as error:
        verdict = Verdict((Mistake("rights", error.message, error.hint),))
        return _told(settings, resolved, verdict, resource_group=row.resource_group, template_id=row.key)
    return _plan(settings, store, resolved, resource_group=row.resource_group, template_id=row.key)


def plan_of_new(
    settings: Settings,
    store: Store,
    template: ImageTemplate,
    *,
    name: str,
    resource_group: str,
    template_id: str,
    mask: SecretMask,
) -> dict[str, Any]:
    """The same of a template that is not there yet, all of whose references its sender may use."""
    shown = {
        "location": template.location,
        "tags": dict(template.tags),
        "properties": given_properties(template),  # in one spelling, whatever was sent
    }
    resolved = ResolvedTemplate(template, name, NEWEST_API_VERSION, shown, template.warnings, mask)
    return _plan(settings, store, resolved, resource_group=resource_group, template_id=template_id)


def _plan(
    settings: Settings, store: Store, resolved: ResolvedTemplate, *, resource_group: str, template_id: str
) -> dict[str, Any]:
    template = resolved.image_template
    problems: list[Mistake] = []
    networks: Mapping[str, UserVirtualNetwork] = {}
    try:
        networks = virtual_networks_for(store, template)
    except InputError as error:
        problems.append(Mistake(NETWORK, error.message, error.hint))
    try:
        check_guest_proxy(_egress(settings, template), settings.guest_proxy)
    except InputError as error:
        problems.append(Mistake(EGRESS, error.message, error.hint))
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
    unread = {problem.path for problem in problems} & {NETWORK}  # of which no more can be said
    problems += [problem for problem in found.problems if problem.path not in unread]
    plan = _told(
        settings,
        resolved,
        Verdict(tuple(problems), found.warnings, found.needs_permission),
        resource_group=resource_group,
        template_id=template_id,
        networks=networks,
    )
    with contextlib.suppress(Unfit):  # which is a problem already
        if version := exact_version(settings, store, template):
            plan["source"].setdefault("exact_version", version)
    return plan


def _told(
    settings: Settings,
    resolved: ResolvedTemplate,
    verdict: Verdict,
    *,
    resource_group: str,
    template_id: str,
    networks: Mapping[str, UserVirtualNetwork] | None = None,
) -> dict[str, Any]:
    """The plan with its verdict, and only with what is known of other resources."""
    return plan_with(
        resolved,
        resource_group=resource_group,
        verdict=verdict,
        settings=settings,
        egress=_egress(settings, resolved.image_template),
        virtual_networks=networks,
        template_id=template_id,
    )


def _egress(settings: Settings, template: ImageTemplate) -> EgressPolicy:
    """What the build may reach; of wrong tags, which are a problem already, nothing is taken."""
    is_wrong = any(tag_mistakes(template.tags))
    return decided_egress(settings.egress, OPEN_EGRESS, {} if is_wrong else template.tags)
