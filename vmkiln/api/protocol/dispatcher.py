"""From a request to its answer: match the path, know the caller, ask whether they may, read the body, call the handler.

Paths match without regard to case. A request without a login learns nothing but that it needs one; what a caller may
not see is refused alike whether it exists or not.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.api.identity.caller import NOBODY, Caller, Permission, Rights
from vmkiln.api.protocol.arm import WRAPPED_SINCE, as_arm_error, error_answer, without_path
from vmkiln.api.protocol.auditing import AUDITED, act_of, action_name, begun_act
from vmkiln.api.protocol.reading import api_version_of, check_plain, path_segments, query_values, read_body
from vmkiln.api.protocol.route import Answer, Body, Call, FileBody, Origin, Route, Service
from vmkiln.audit.act import ended
from vmkiln.azure_names import group_id
from vmkiln.errors import ArmError
from vmkiln.store.audit_table import BegunAct
from vmkiln.store.locked.scope_locks import held_by, refusal
from vmkiln.template.api_version import API_VERSIONS

IMAGE_BUILDER = "microsoft.virtualmachineimages"
REQUEST, CORRELATION = "x-ms-request-id", "x-ms-correlation-request-id"
CLIENT_REQUEST = "x-ms-client-request-id"
NO_GUID = "00000000-0000-0000-0000-000000000000"
CHANGING = {Permission.WRITE, Permission.DELETE, Permission.ACTION, Permission.ASSIGN, Permission.SHELL}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class Request:
    """A request as it came: raw path and query, headers with names in lower case, the body's bytes.

    `source` is the address it came from.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Mapping[str, str]
    content: bytes
    base_url: str
    source: str = ""


@dataclass(frozen=True)
class Match:
    """A route that fits a path, with the placeholders' values, and the path in its plain form."""

    route: Route
    names: Mapping[str, str]
    path: str


class RouteTable:
    """Every route, found by the number of segments, then by the segments."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            pattern = tuple(part if part.startswith("{") else part.lower() for part in route.path.strip("/").split("/"))
            pattern = () if pattern == ("",) else pattern
            self._by_length.setdefault(len(pattern), []).append((pattern, route))
        for rows in self._by_length.values():  # fixed words before placeholders
            rows.sort(key=lambda row: [part.startswith("{") for part in row[0]])

    def match(self, method: str, segments: tuple[str, ...], *, has_existence: bool = False) -> Match:
        """The route for a request; with `has_existence` HEAD is what GET is. Raises: `ArmError` 404 or 405."""
        folded = tuple(segment.lower() for segment in segments)
        other_methods: set[str] = set()
        for pattern, route in self._by_length.get(len(segments), []):
            if all(part.startswith("{") or part == given for part, given in zip(pattern, folded, strict=True)):
                if route.method == method:
                    names = {
                        part[1:-1]: given for part, given in zip(pattern, segments, strict=True) if part.startswith("{")
                    }
                    return Match(route, names, "/" + "/".join(segments))
                other_methods.add(route.method)
        if has_existence and method == "HEAD" and "GET" in other_methods:
            return self.match("GET", segments)
        if other_methods:
            allowed = ", ".join(sorted(other_methods))
            message = f"The requested resource does not support http method '{method[:20]}'."
            raise ArmError(405, "UnsupportedHttpMethod", message, headers={"Allow": allowed})
        text = "/" + "/".join(segments)
        raise ArmError(404, "InvalidResourceType", f"The resource type of '{text[:200]}' is not served here.")


class Dispatcher:
    """Answers requests from outside and from inside."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table

    def answer(self, service: Service, request: Request) -> Answer:
        """The answer to a request from outside, recorded in the audit where it may change something; raises nothing."""
        origin = _origin_of(request)
        version = ""
        match: Match | None = None
        act: BegunAct | None = None
        try:
            try:
                match = self.table.match(request.method, path_segments(request.raw_path), has_existence=True)
            except ArmError:
                service.access.authenticate(request.headers, base_url=request.base_url)
                raise
            route = match.route
            if route.permission is not Permission.NONE:
                caller = service.access.authenticate(request.headers, base_url=request.base_url)
                origin = replace(origin, caller=caller)
            query = query_values(request.raw_query)
            rights = service.access.rights(origin.caller) if route.permission is not Permission.NONE else Rights()
            _check_allowed(service, rights, match, origin.caller)
            _check_unlocked(service, match)
            version = query.get("api-version", "")
            call = Call(
                route=route,
                names=match.names,
                resource_id=resource_id_of(match),
                query=query,
                headers=request.headers,
                body=read_body(request.content, route.body, request.headers),
                api_version=api_version_of(query, route.api_versions, is_needed=route.needs_api_version),
                caller=origin.caller,
                base_url=request.base_url,
                origin=origin,
                service=service,
                rights=rights,
            )
            act = _begun(call)
            answer = _handled(call, act)
            if request.method == "HEAD" and answer.status < 300 and not isinstance(answer.body, FileBody):
                answer = replace(answer, status=204, body=None)  # only whether it is there
        except Exception as error:
            refusal = _refusal(service, error, origin)
            answer = error_answer(refusal, is_wrapped=not _is_unwrapped(match, version))
        answer = _recorded(service, match, origin, answer, act)
        return replace(answer, headers={**_trace_headers(origin), **answer.headers})

    def answer_inside(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        caller: Caller,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        base_url: str = "",
        origin: Origin | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> Answer:
        """The answer to a request of our own on behalf of a caller: same routes, same checks; raises nothing.

        `origin` is the request from outside that this one belongs to, `secrets` what in `body` must not be shown.
        """
        request_id = str(uuid.uuid4())
        origin = origin or Origin(caller, request_id, request_id)
        match: Match | None = None
        act: BegunAct | None = None
        try:
            match = self.table.match(method, path_segments(path.encode(errors="surrogatepass")))
            rights = service.access.rights(caller)
            _check_allowed(service, rights, match, caller)
            _check_unlocked(service, match)
            if body is not None:
                check_plain(body)
            parameters = {name.lower(): value for name, value in (query or {}).items()}
            route = match.route
            if body is None and route.body in {Body.JSON, Body.LENIENT_JSON}:
                raise ArmError(400, "InvalidRequestContent", "a JSON object is required")
            call = Call(
                route=route,
                names=match.names,
                resource_id=resource_id_of(match),
                query=parameters,
                headers={},
                body=body,
                api_version=api_version_of(parameters, route.api_versions, is_needed=route.needs_api_version),
                caller=caller,
                base_url=base_url,
                origin=origin,
                service=service,
                rights=rights,
                secrets=secrets,
            )
            act = _begun(call)
            answer = _handled(call, act)
        except Exception as error:
            answer = error_answer(_refusal(service, error, origin))
        return _recorded(service, match, origin, answer, act)


def _begun(call: Call) -> BegunAct | None:
    """The act that a request is, as far as it may change something or fetches a key."""
    if call.route.method not in AUDITED:
        return None
    return begun_act(call.route, call.resource_id, call.origin, moment=call.service.now())


def _handled(call: Call, act: BegunAct | None) -> Answer:
    """The handler's answer; its first change in the database takes the act with it.

    Where the change is in files, or a key is given away, the act comes first. Raises: what the handler raises, and
    `StorageFailed` when the act cannot be recorded.
    """
    if act is None:
        return call.route.handler(call)
    if call.route.is_recorded_first:
        call.service.store.audit.begin(act)
    with act.going_on():
        return call.route.handler(call)


def _refusal(service: Service, error: Exception, origin: Origin) -> ArmError:
    is_local = origin.caller.is_local
    refusal = as_arm_error(error, request_id=origin.request_id, is_local=is_local)
    return refusal if is_local else without_path(refusal, service.settings.home, request_id=origin.request_id)


def _recorded(
    service: Service, match: Match | None, origin: Origin, answer: Answer, act: BegunAct | None = None
) -> Answer:
    """The answer with who asked for it, once the audit has it."""
    if answer.caller is not NOBODY:
        origin = replace(origin, caller=answer.caller)  # a login proves who they are
    if match is not None and match.route.method in AUDITED:
        row = act_of(match.route, resource_id_of(match), origin, answer, moment=service.now())
        service.audit.record(ended(act, row) if act is not None else row)
    return replace(answer, caller=origin.caller)


def resource_id_of(match: Match) -> str:
    """The id of the resource a path is about: an action's last segment does not belong to it; pure."""
    is_action = match.route.method == "POST" and not match.route.path.endswith("}")
    return match.path.rpartition("/")[0] if is_action else match.path


def _check_allowed(service: Service, rights: Rights, match: Match, caller: Caller) -> None:
    permission = match.route.permission
    if permission is not Permission.NONE and not _GUID.fullmatch(match.names.get("subscriptionId", NO_GUID)):
        text = f"The provided subscription identifier '{match.names['subscriptionId'][:80]}' is malformed or invalid."
        raise ArmError(400, "InvalidSubscriptionId", text, hint="a subscription is a GUID")
    if permission in {Permission.NONE, Permission.ANY}:
        return
    scope = resource_id_of(match)
    if not rights.may(permission, scope) and not _may_follow(service, rights, match):
        raise forbidden(caller, match.route, scope)


def _check_unlocked(service: Service, match: Match) -> None:
    """Raises: `ArmError` 409 for what a lock keeps from being done. Locks themselves are held by none."""
    route, scope = match.route, resource_id_of(match)
    deletes = route.method == "DELETE"
    if route.permission not in CHANGING or not scope.lower().startswith("/subscriptions/") or "lockName" in match.names:
        return
    if scopes := held_by(service.store.resources, scope, deletes=deletes):
        raise ArmError(409, "ScopeLocked", refusal(scope, scopes, deletes=deletes))


def _may_follow(service: Service, rights: Rights, match: Match) -> bool:
    """Whether it is about the staging resource group of an image template with which the caller may do the same.

    Who may read a template, or run it, sees what its builds make; nobody changes that.
    """
    permission = match.route.permission
    is_of_a_group = {"subscriptionId", "resourceGroupName"} <= match.names.keys()
    if permission not in {Permission.READ, Permission.ACTION} or not is_of_a_group:
        return False
    group = service.store.resources.get(group_id(match.names["subscriptionId"], match.names["resourceGroupName"]))
    template_id = str(group.properties.get("managedBy") or "") if group and group.state.get("staging_group") else ""
    return bool(template_id) and rights.may(permission, template_id)


def forbidden(caller: Caller, route: Route, scope: str) -> ArmError:
    """The refusal of what a caller's roles do not allow; the same whether the scope exists or not."""
    return ArmError(
        403,
        "AuthorizationFailed",
        f"The client '{caller.name}' with object id '{caller.object_id}' does not have authorization to perform "
        f"action '{action_name(route)}' over scope '{scope}' or the scope is invalid. If access was recently "
        "granted, please refresh your credentials.",
    )


def _is_unwrapped(match: Match | None, version: str) -> bool:
    is_ours = match is not None and IMAGE_BUILDER in match.route.path.lower()
    return is_ours and version in API_VERSIONS and version < WRAPPED_SINCE


def _origin_of(request: Request) -> Origin:
    """The ids of a request: its own, and those that the client gave it, as far as they are GUIDs."""
    request_id = str(uuid.uuid4())
    given = {name: request.headers.get(name, "") for name in (CORRELATION, CLIENT_REQUEST)}
    known = {name: value for name, value in given.items() if _GUID.fullmatch(value)}
    correlation_id = known.get(CORRELATION, request_id)
    return Origin(NOBODY, request_id, correlation_id, request.source, known.get(CLIENT_REQUEST, ""))


def _trace_headers(origin: Origin) -> dict[str, str]:
    headers = {REQUEST: origin.request_id, CORRELATION: origin.correlation_id, "Cache-Control": "no-cache"}
    if origin.client_request_id:
        headers[CLIENT_REQUEST] = origin.client_request_id
    return headers
