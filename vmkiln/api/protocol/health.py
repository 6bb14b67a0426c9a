"""GET /livez and /readyz: whether the service lives, and whether it can do its work now; without a login.

`/healthz` is what `/readyz` is, which looks at everything that `/livez` does.

Source: Kubernetes, "API health endpoints": 200 or 503, and what was looked at.
"""

from collections.abc import Sequence

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Call, Handler, Route
from vmkiln.fleet.health import Check

LIVENESS = "/livez"
READINESS = ("/readyz", "/healthz")
NO_STORE = {"Cache-Control": "no-store"}


def live(call: Call) -> Answer:
    """Whether it lives: if not, only a new start helps. Nothing is waited for."""
    return _answer(call, call.service.health.live())


def ready(call: Call) -> Answer:
    """Whether it can do its work now; the application has looked just before."""
    return _answer(call, call.service.health.ready())


def _answer(call: Call, checks: Sequence[Check]) -> Answer:
    failed = any(check.is_needed and not check.is_well for check in checks)
    degraded = any(not check.is_well for check in checks)
    status = "failed" if failed else "degraded" if degraded else "ok"
    body = {
        "status": status,
        "time": time_text(call.service.now()),
        "checks": [_body(check) for check in checks],
        "reasons": [f"{check.name} {check.reason}" for check in checks if not check.is_well],
    }
    return Answer(503 if failed else 200, body, NO_STORE)


def _body(check: Check) -> dict[str, object]:
    body: dict[str, object] = {"name": check.name, "status": "ok"}
    if not check.is_well:
        body |= {"status": "failed" if check.is_needed else "degraded", "reason": check.reason}
    if check.seconds_since_good is not None:
        body["secondsSinceGood"] = round(check.seconds_since_good, 1)
    return body


def _public(path: str, operation: str, handler: Handler) -> Route:
    return Route("GET", path, operation, Permission.NONE, handler, needs_api_version=False)


ROUTES = (
    _public(LIVENESS, "Health_Live", live),
    _public(READINESS[0], "Health_Ready", ready),
    _public(READINESS[1], "Health_Get", ready),
)
