"""Who owns an image template: whoever put it or changed it last, and may therefore use all that it names.

Runs of a template without an identity have the rights that its owner has when they begin.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vmkiln.api.protocol.route import Call
from vmkiln.api.virtual_machine_images.references import check_references
from vmkiln.errors import ArmError
from vmkiln.rights import run_rights
from vmkiln.rights.run_rights import OWNER, Owner, owner_of
from vmkiln.run_failures import RightsLost
from vmkiln.store.rows import ResourceRow
from vmkiln.template.image_template import ImageTemplate


def owned_by_caller(call: Call) -> dict[str, Any]:
    """The part of a template's state that makes the caller its owner."""
    return {OWNER: _owner(call).kept()}


def taken_over(call: Call, row: ResourceRow) -> Mapping[str, str]:
    """What the audit says when the caller takes a template over; nothing when it is the caller's already."""
    before = owner_of(call.service.store, row)
    if before is not None and before.object_id.lower() == call.caller.object_id.lower():
        return {}
    return {"takenOverFrom": f"{before.name} ({before.object_id})" if before is not None else "nobody known"}


def check_run(call: Call, row: ResourceRow, template: ImageTemplate) -> Mapping[str, str]:
    """Refuse a run whose rights are gone; a template whose owner is not known becomes the caller's, who may use it all.

    Gives what the audit says of that. Raises: `ArmError` 403.
    """
    store, detail = call.service.store, {}
    if owner_of(store, row) is None:
        check_references(call, template, has_new_identities=False)
        detail = dict(taken_over(call, row))
        changed = store.resources.change(row.id, lambda old: replace(old, state={**old.state, **owned_by_caller(call)}))
        row = changed or row
    try:
        run_rights.check(store, row, template)
    except RightsLost as error:
        raise ArmError(403, error.code, error.message, hint=error.hint) from None
    return detail


def _owner(call: Call) -> Owner:
    return Owner(call.caller.object_id, call.caller.name, call.caller.is_local)
