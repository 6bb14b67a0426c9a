"""What the audit says of a request: each that may change something, or fetches a key, whether it was allowed or not.

Which requests these are follows from the route's method, so that a new route is audited without anybody's help.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Origin, Route
from vmkiln.audit.act import CallerKind, Cause, Outcome, Who, audit_row, begun, operator
from vmkiln.store.audit_table import BegunAct
from vmkiln.store.rows import AuditRow

AUDITED = frozenset({"PUT", "PATCH", "POST", "DELETE"})
VERBS: Mapping[str, str] = {"PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}
SIGN_IN = "Microsoft.Directory/signIns/action"


def action_name(route: Route) -> str:
    """What a route does, in Azure's words: `Microsoft.Compute/images/read`, `.../imageTemplates/run/action`; pure."""
    if route.permission is Permission.NONE and route.method in AUDITED:
        return SIGN_IN
    parts = route.path.strip("/").split("/")
    after = len(parts) - parts[::-1].index("providers") if "providers" in parts else len(parts)
    words = [part for part in parts[after:] if not part.startswith("{")]
    if after < len(parts) and parts[after].startswith("{") and parts.count("providers") > 1:
        after = parts.index("providers") + 1  # of another provider's: `.../Microsoft.Features/providers/{namespace}`
        words = [part for part in parts[after:] if not part.startswith("{")]
    elif after >= len(parts) or parts[after].startswith("{"):
        words = ["Microsoft.Resources", *(part for part in parts if not part.startswith("{"))]
    return "/".join([*words, VERBS.get(route.method, "read")])


def who_of(origin: Origin) -> Who:
    """Who made a request: the user of this machine where that is its operator."""
    caller = origin.caller
    if caller.is_local:
        user = operator()
        return Who(user.name, user.id, user.kind, origin.source)
    kind = CallerKind.APP if caller.is_service_principal else CallerKind.USER
    return Who(caller.name, caller.object_id, kind if caller.object_id else CallerKind.NOBODY, origin.source)


def act_of(route: Route, resource_id: str, origin: Origin, answer: Answer, *, moment: datetime) -> AuditRow:
    """The act that a request was, with what came of it."""
    error_code = _error_code(answer.body) if answer.status >= 400 else ""
    named = {"clientRequestId": origin.client_request_id} if origin.client_request_id else {}
    return audit_row(
        action_name(route),
        resource_id,
        who=who_of(origin),
        cause=Cause(origin.correlation_id, origin.request_id, route.method),
        moment=moment,
        outcome=Outcome(answer.status, error_code),
        detail={**answer.detail, **named},
    )


def begun_act(route: Route, resource_id: str, origin: Origin, *, moment: datetime) -> BegunAct:
    """The act that a request is, before anything of it is done."""
    return begun(act_of(route, resource_id, origin, Answer(0), moment=moment))


def _error_code(body: Any) -> str:
    """The code of a refusal, in each of the shapes that refusals have here."""
    found = body.get("error", body) if isinstance(body, dict) else ""
    return str(found.get("code", "")) if isinstance(found, dict) else str(found)
