"""The protocol of Azure Resource Manager: the shape of errors, and which error of ours is which of ARM's.

Source: docs/reference/rest-api.md#errors; the ARM resource provider contract.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmkiln.api.protocol.route import Answer
from vmkiln.errors import (
    ArmError,
    CodedMistake,
    HostUnfit,
    ImageConflict,
    ImageNotFound,
    InputError,
    Mistake,
    MistakeKind,
    QuotaReached,
    StorageFailed,
    StorageFull,
    TemplateInvalid,
    VmkilnError,
)

log = logging.getLogger(__name__)
VALIDATION_FAILED = "ValidationFailed"
CODES = {MistakeKind.CUSTOMIZER_OF_ANOTHER_SYSTEM: "CustomizerNotSupportedForImage"}
RETRY_SECONDS = 30  # a full disk is looked at once a minute
WRAPPED_SINCE = "2021-10-01"  # before it, Microsoft.VirtualMachineImages answered errors without the member `error`
REVIEW = "Please review http://aka.ms/azvmimagebuildertmplref for details on fields {} in the Image Builder Template."
REQUIREMENTS = REVIEW.format("requirements")


def error_body(error: ArmError) -> dict[str, Any]:
    """The body of an error's answer: `{"error": {"code", "message", "target"?, "details"?}}`."""
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.hint:
        content["message"] = f"{error.message} ({error.hint})"
    if error.target:
        content["target"] = error.target
    if error.details:
        content["details"] = list(error.details)
    return {"error": content}


def error_answer(error: ArmError, *, is_wrapped: bool = True) -> Answer:
    """The answer to a request that was refused."""
    body = error_body(error)
    return Answer(error.status, body if is_wrapped else body["error"], error.headers)


def as_arm_error(error: Exception, *, request_id: str, is_local: bool = False) -> ArmError:
    """The same error in ARM's words.

    One of the service's own, with names of its hosts and paths, is logged, and told by its request's id; whole to the
    operator of this machine (`is_local`), whose command it is. One that nobody foresaw is told to nobody.
    """
    match error:
        case ArmError():
            return error
        case TemplateInvalid():
            return template_error(error)
        case ImageNotFound():
            return ArmError(404, "NotFound", error.message, hint=error.hint)
        case ImageConflict():
            return ArmError(409, "Conflict", error.message, hint=error.hint)
        case QuotaReached():
            return ArmError(409, error.code, error.message, hint=error.hint)
        case InputError():
            return ArmError(400, "InvalidRequestContent", error.message, hint=error.hint)
        case HostUnfit():
            return ArmError(409, "HostUnfit", error.message, hint=error.hint)
        case StorageFailed():
            wait = {"Retry-After": str(RETRY_SECONDS)}
            code = "InsufficientStorage" if isinstance(error, StorageFull) else "ServiceUnavailable"
            return _own_error(503, code, error, request_id=request_id, is_local=is_local, headers=wait)
        case VmkilnError():
            return _own_error(500, "InternalServerError", error, request_id=request_id, is_local=is_local)
    log.exception("request %s failed", request_id, exc_info=error)
    return ArmError(500, "InternalServerError", f"An internal error occurred. The request id is {request_id}.")


def _own_error(
    status: int,
    code: str,
    error: VmkilnError,
    *,
    request_id: str,
    is_local: bool,
    headers: Mapping[str, str] | None = None,
) -> ArmError:
    log.error("request %s failed: %s", request_id, error)
    if is_local:
        return ArmError(status, code, error.message, hint=error.hint, headers=headers)
    text = error.outside or "An internal error occurred"
    return ArmError(status, code, f"{text}. The request id is {request_id}.", headers=headers)


def without_path(error: ArmError, home: Path, *, request_id: str) -> ArmError:
    """The same error, without the path of the state directory, which is nobody's business on another machine."""
    found = (error.message, error.hint or "")
    if not any(str(home) in text for text in found):
        return error
    log.error("request %s failed: %s", request_id, error)
    message, hint = (text.replace(str(home), "...") for text in found)
    return ArmError(
        error.status,
        error.code,
        message,
        target=error.target,
        details=error.details,
        hint=hint or None,
        headers=error.headers,
    )


def template_error(error: TemplateInvalid, *, api_version: str = "", kind: str = "ImageTemplate") -> ArmError:
    """Every mistake of a template as one ValidationFailed error with details."""
    texts = [_mistake_text(mistake, api_version, kind) for mistake in error.mistakes]
    details = [
        {"code": _code_of(mistake), "message": text, "target": mistake.path}
        for text, mistake in zip(texts, error.mistakes, strict=True)
    ]
    codes = {detail["code"] for detail in details}
    code = codes.pop() if len(codes) == 1 else VALIDATION_FAILED
    return ArmError(400, code, "\n".join(texts), details=details)


def _code_of(mistake: Mistake) -> str:
    own = mistake.code if isinstance(mistake, CodedMistake) else ""
    return own or CODES.get(mistake.kind, VALIDATION_FAILED)


def _unmarshalling(parent: str, name: str, more: str, version: str, kind: str) -> str:
    fields = "".join(f" struct field {part[:1].upper()}{part[1:]}:" for part in parent.split(".") if part)
    return (
        f"Unmarshalling entity encountered error: unmarshalling type *{version}{kind}:{fields} "
        f'unknown field "{name}"{more}. There is an issue with the syntax with the JSON template you are '
        f"submitting. {REQUIREMENTS}"
    )


def _mistake_text(mistake: Mistake, api_version: str, kind: str) -> str:
    """A mistake in Azure's words (docs/reference/rest-api.md#errors)."""
    parent, _, name = mistake.path.rpartition(".")
    where = f"{kind}.{parent}" if parent else kind
    more = f" ({mistake.hint})" if mistake.hint else ""
    match mistake.kind:
        case MistakeKind.UNKNOWN_MEMBER:
            version = f"v{api_version.replace('-', '_')}." if api_version else ""
            return _unmarshalling(parent, name, more, version, kind)
        case MistakeKind.MISSING_MEMBER:
            return f"Validation failed: '{where}': Missing field {name}{more}. {REVIEW.format('required')}"
        case MistakeKind.CUSTOMIZER_OF_ANOTHER_SYSTEM:
            return (
                f"{mistake.message}. Check the customizers referenced in the Image Builder Template: '{where}'{more}."
            )
        case MistakeKind.LOST_TARGET:
            return f"Validation failed: {mistake.message}"
        case MistakeKind.VALUE | MistakeKind.NOT_KNOWN_HERE | MistakeKind.NOT_KNOWN_YET:
            told = f"Field '{name}' has a bad value: {mistake.message}{more}. {REQUIREMENTS}"
            return f"Validation failed: '{where}': {told}"


def accepted_headers(url: str, *, location: str = "", retry_after_seconds: int = 1) -> Mapping[str, str]:
    """The headers of an answer to an asynchronous request: where to ask, and when to ask again."""
    headers = {"Retry-After": str(retry_after_seconds)}
    if url:
        headers["Azure-AsyncOperation"] = url
    if location:
        headers["Location"] = location
    return headers
