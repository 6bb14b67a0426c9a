"""How clients find the service and log in: cloud metadata, OpenID discovery, tokens for service principals.

Source: clients as they are (az, the Azure SDKs, MSAL); RFC 6749, section 4.4; Microsoft's AADSTS error codes.
"""

import base64
import binascii
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from vmkiln.api.identity.caller import Caller, Permission
from vmkiln.api.identity.client_assertion import (
    KIND,
    Certificate,
    FederatedCredential,
    NotProven,
    check_certificate,
    check_federated,
    unproven,
)
from vmkiln.api.identity.failures import FAILURES_SECONDS, MOST_FAILURES, MOST_OF_AN_ADDRESS
from vmkiln.api.identity.login_turns import network_of
from vmkiln.api.protocol.reading import is_plain
from vmkiln.api.protocol.route import Answer, Body, Call, Route, Service
from vmkiln.azure_names import FEDERATED_CREDENTIAL, USER_ASSIGNED_IDENTITY
from vmkiln.platform_images.catalogue_entry import key_of_name, os_type_of
from vmkiln.platform_images.platform_image import whole_catalogue
from vmkiln.store.rows import KeyKind, PrincipalRow

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
ADFS = "adfs"
# the api-versions at which the form of /metadata/endpoints changed
FIRST_METADATA, SECOND_METADATA, THIRD_METADATA = "1.0", "2018-01-01", "2022-09-01"
STORAGE_SUFFIX = "localhost"  # clients write `ACCOUNT.blob.` before it
ANY_TENANT = {ADFS, "common", "organizations"}


def metadata(call: Call) -> Answer:
    """GET /metadata/endpoints: one cloud; from 2018 to 2021 it was a list of one, before that an object of few members.

    The oldest form is what az up to 2.60 and `Add-AzEnvironment -ARMEndpoint` read.
    """
    base = call.base_url
    if FIRST_METADATA <= call.api_version < SECOND_METADATA:
        return Answer(
            200,
            {
                "galleryEndpoint": base,
                "graphEndpoint": base,
                "portalEndpoint": base,
                "graphAudience": base,
                "authentication": {"loginEndpoint": base, "audiences": [base]},
            },
        )
    cloud: dict[str, Any] = {
        "name": "vmkiln",
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": base,
        "media": base,
        "graph": base,
        "graphAudience": base,
        "microsoftGraphResourceId": base,
        "gallery": base,
        "vmImageAliasDoc": f"{base}/vmkiln/aliases.json",
        "activeDirectoryDataLake": base,
        "sqlManagement": base,
        "suffixes": {"storage": STORAGE_SUFFIX, "acrLoginServer": "", "keyVaultDns": ""},
    }
    return Answer(200, [cloud] if SECOND_METADATA <= call.api_version < THIRD_METADATA else cloud)


def image_aliases(call: Call) -> Answer:
    """GET /vmkiln/aliases.json: short names of the catalogue's platform images, as `az vm image list` reads them."""
    aliases: dict[str, dict[str, Any]] = {}
    catalogue = whole_catalogue(call.service.settings)
    images = [(alias, catalogue.entries.get(key_of_name(image))) for alias, image in catalogue.aliases.items()]
    images += [(f"{entry.offer}-{entry.sku}", entry) for entry in catalogue.entries.values()]
    for alias, entry in images:
        if entry is not None:
            urn = {"publisher": entry.publisher, "offer": entry.offer, "sku": entry.sku, "version": "latest"}
            urn["architecture"] = entry.architecture
            aliases.setdefault(os_type_of(entry), {}).setdefault(alias, urn)
    return Answer(200, {"outputs": {"aliases": {"type": "object", "value": aliases}}})


def _place(call: Call) -> str:
    return f"{call.base_url}/{call.names['tenant']}"


def openid_configuration(call: Call) -> Answer:
    """GET the discovery document of a tenant."""
    place = _place(call)
    is_adfs = call.names["tenant"].lower() == ADFS
    version = "" if is_adfs or "v2.0" not in call.route.path else "/v2.0"
    return Answer(
        200,
        {
            "issuer": call.service.issuer.issuer,
            "authorization_endpoint": f"{place}/oauth2{version}/authorize",
            "token_endpoint": f"{place}/oauth2{version}/token",
            "jwks_uri": f"{place}/discovery{version}/keys",
            "response_types_supported": ["token"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
            "tenant_region_scope": None,
            "cloud_instance_name": urlsplit(call.base_url).netloc,
        },
    )


def keys(call: Call) -> Answer:
    """GET the public key as a JWK set."""
    return Answer(200, call.service.issuer.key_set())


def _refused(status: int, error: str, code: int, text: str) -> Answer:
    trace = str(uuid.uuid4())
    body = {
        "error": error,
        "error_description": f"AADSTS{code}: {text} Trace ID: {trace}",
        "error_codes": [code],
        "trace_id": trace,
        "correlation_id": trace,
    }
    return Answer(status, body, NO_STORE)


def _credentials(call: Call) -> tuple[str, str]:
    """The application id and secret: in the form, or in a Basic header (RFC 6749, section 2.3.1)."""
    form = call.body
    kind, _, encoded = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic" and "client_secret" not in form:
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        name, secret = unquote(name), unquote(secret)
        return (name, secret) if is_plain(name) and is_plain(secret) else ("", "")
    return form.get("client_id", ""), form.get("client_secret", "")


def audience_of(form: dict[str, str]) -> str:
    """What a token is for: the scope without its `/.default`, or the resource; '' when neither makes sense; pure."""
    scope = form.get("scope", "").split(" ")[0]
    if scope.endswith("/.default"):
        return scope.removesuffix("/.default").rstrip("/")
    return form.get("resource", "").rstrip("/")


def of_application(service: Service, app_id: str) -> tuple[PrincipalRow | None, str]:
    """The principal of an application id, or the managed identity of a client id as one, with the identity's id."""
    principal = service.store.principals.find(app_id)
    if principal is not None:
        return principal, ""
    for row in service.store.resources.list(type=USER_ASSIGNED_IDENTITY):
        client_id, object_id = str(row.properties["clientId"]), str(row.properties["principalId"])
        if client_id.lower() == app_id.lower():
            return PrincipalRow(client_id, object_id, row.name, row.created or service.now(), is_disabled=False), row.id
    return None, ""


def _wrong_assertion(call: Call, principal: PrincipalRow, identity_id: str) -> tuple[int, str]:
    """Why an assertion does not prove the principal, by Microsoft's number; 0 when it does."""
    service, form = call.service, call.body
    try:
        if form.get("client_assertion_type", "").lower() != KIND:
            raise NotProven(900144, f"The request body must contain client_assertion_type '{KIND}'.")
        header, claims = unproven(form["client_assertion"])
        keys = [] if identity_id else service.store.principals.keys_of(principal.app_id)
        if str(claims.get("iss", "")).lower() == principal.app_id.lower() and not identity_id:
            certificates = [
                Certificate(key.detail["pem"], key.detail["sha1"], key.detail["sha256"],
                            datetime.fromisoformat(key.detail["notAfter"]))
                for key in keys
                if key.kind is KeyKind.CERTIFICATE
            ]  # fmt: skip
            is_own = service.access.is_own
            check_certificate(
                form["client_assertion"], header, certificates, app_id=principal.app_id, own=is_own, now=service.now()
            )
            return 0, ""
        known = [key.detail for key in keys if key.kind is KeyKind.FEDERATED]
        if identity_id:
            rows = service.store.resources.list(type=FEDERATED_CREDENTIAL, parent=identity_id.lower())
            known = [row.properties for row in rows]
        trusted = [FederatedCredential(item["issuer"], item["subject"], tuple(item["audiences"])) for item in known]
        check_federated(form["client_assertion"], claims, trusted, service.issuers)
    except NotProven as error:
        return error.code, error.text
    return 0, ""


def token(call: Call) -> Answer:
    """POST: a token for a service principal that shows its secret, or an assertion."""
    service, form = call.service, call.body
    tenant = call.names["tenant"].lower()
    if tenant not in {*ANY_TENANT, service.issuer.tenant_id}:
        return _refused(400, "invalid_request", 90002, f"Tenant '{call.names['tenant'][:80]}' not found.")
    grant = form.get("grant_type", "")
    if grant != "client_credentials":
        text = f"The app requested an unsupported grant type '{grant[:60]}': allowed is client_credentials."
        return _refused(400, "unsupported_grant_type", 70003, text)
    audience = audience_of(form)
    if not audience or urlsplit(audience).scheme not in {"https", "api"}:
        return _refused(400, "invalid_scope", 70011, "The provided value for scope is not valid: write URL/.default.")
    place = network_of(call.origin.source)
    held_up = {**NO_STORE, "Retry-After": str(int(FAILURES_SECONDS))}
    if service.failures_of_addresses.recent(place) >= MOST_OF_AN_ADDRESS:  # before anything is hashed or fetched
        text = "Too many logins from this address were wrong: come again in a minute."
        return replace(_refused(429, "temporarily_unavailable", 50196, text), headers=held_up)
    identity_id = ""
    if form.get("client_assertion"):
        app_id = form.get("client_id", "")
        principal, identity_id = of_application(service, app_id)
        wrong, text = (700016, "") if principal is None else _wrong_assertion(call, principal, identity_id)
    else:
        app_id, secret = _credentials(call)
        is_right = service.store.principals.check_secret(app_id, secret)
        principal = service.store.principals.find(app_id)
        wrong, text = (0, "") if is_right else (7000215, f"Invalid client secret provided for app '{app_id}'.")
    tried = {"appId": app_id}
    if principal is None or wrong:
        service.failures_of_addresses.count(place)
    if principal is None:
        text = f"Application with identifier '{app_id[:80]}' was not found in the directory."
        return replace(_refused(400, "unauthorized_client", 700016, text), detail=tried)
    if wrong or principal.is_disabled:
        text = text or f"Application '{app_id}' is disabled."
        answer = replace(_refused(401, "invalid_client", wrong or 7000112, text), detail=tried)
        if service.failures.count(principal.app_id) <= MOST_FAILURES:
            return answer
        return replace(answer, status=429, headers=held_up)
    now, seconds = service.now(), service.settings.access_token_seconds
    body = {
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "access_token": service.issuer.token(
            principal, audience=audience, now=now, lasts_seconds=seconds, identity_id=identity_id
        ),
    }
    if "resource" in form:
        expires = int(now.timestamp()) + seconds
        body |= {"expires_on": str(expires), "not_before": str(int(now.timestamp())), "resource": form["resource"]}
    return Answer(200, body, NO_STORE, tried, Caller(principal.object_id, principal.display_name))


def tenants(call: Call) -> Answer:
    """GET /tenants: the one tenant."""
    tenant = call.service.issuer.tenant_id
    value = {"id": f"/tenants/{tenant}", "tenantId": tenant, "displayName": "vmkiln", "tenantCategory": "Home"}
    return Answer(200, {"value": [value]})


def _public(method: str, path: str, operation: str, handler: Any, body: Body = Body.NONE) -> Route:
    return Route(method, path, operation, Permission.NONE, handler, body, needs_api_version=False)


ROUTES = (
    _public("GET", "/metadata/endpoints", "Metadata_ListEndpoints", metadata),
    _public("GET", "/vmkiln/aliases.json", "Metadata_ListImageAliases", image_aliases),
    _public("GET", "/{tenant}/.well-known/openid-configuration", "OpenId_Get", openid_configuration),
    _public("GET", "/{tenant}/v2.0/.well-known/openid-configuration", "OpenIdV2_Get", openid_configuration),
    _public("GET", "/{tenant}/discovery/keys", "OpenId_Keys", keys),
    _public("GET", "/{tenant}/discovery/v2.0/keys", "OpenIdV2_Keys", keys),
    _public("POST", "/{tenant}/oauth2/token", "OAuth2_Token", token, Body.FORM),
    _public("POST", "/{tenant}/oauth2/v2.0/token", "OAuth2V2_Token", token, Body.FORM),
    Route("GET", "/tenants", "Tenants_List", Permission.ANY, tenants),
)
