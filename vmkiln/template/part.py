"""What every part of an image template has in common: it is frozen, strict, and spelled in camelCase only on the wire.

Also the kinds of value that several parts share: checksums, addresses of scripts, names of run outputs, ARM ids.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from vmkiln.azure_names import SUBNET, USER_ASSIGNED_IDENTITY
from vmkiln.errors import InputError, Mistake
from vmkiln.template.resource_id import parse_resource_id


class Part(BaseModel):
    """Base of all parts; what a subclass says of its members, by their names on the wire, canonical_body.py obeys.

    `read_only` members may be present and are left out; a 0 in `zero_means_default` is no value; `preview_only`
    members and `preview_names` (older name to member) belong to the preview api-versions; `since` tells the first
    api-version that has a member, where that is not all of them. Rules between members stand
    in `mistakes_in`, so that they are tried even where another member is wrong.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )
    read_only: ClassVar[frozenset[str]] = frozenset()
    zero_means_default: ClassVar[frozenset[str]] = frozenset()
    preview_only: ClassVar[frozenset[str]] = frozenset()
    preview_names: ClassVar[Mapping[str, str]] = {}
    since: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:  # noqa: ARG003
        """Mistakes between the members of `body`, whose names are already canonical but whose types are not checked."""
        yield from ()


def refusal(message: str, hint: str | None = None) -> PydanticCustomError:
    """A field's own mistake, kept apart from its hint until its path is known."""
    return PydanticCustomError("refused", "{message}", {"message": message, "hint": hint or ""})


def _check_sha256(text: str) -> str:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        hint = "write it in lower case" if re.fullmatch(r"[0-9A-Fa-f]{64}", text) else "the output of `sha256sum FILE`"
        raise refusal("is not a SHA-256 checksum: allowed are 64 lower-case hexadecimal digits", hint)
    return text


def _check_address(text: str) -> str:
    placeholder = re.search(r"<([\w.-]+)>", text)
    if placeholder:
        raise refusal(
            f"still holds the placeholder `{placeholder[0]}`",
            f"replace it in the file, or give it a value: --parameters {placeholder[1]}=VALUE",
        )
    if half := re.search(r"[<>]", text):
        raise refusal(f"`{text[:200]}` holds `{half[0]}`, which no address has", "write the value in its place")
    if re.search(r"[\x00-\x1f\x7f]", text) or text != text.strip():
        raise refusal("holds a control character, or a space at an end")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise refusal(f"`{text}` is not a well-formed URL") from None
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            raise refusal(f"`{text}` names no host")
    elif parts.scheme not in ("", "file") or "\\" in text or text.startswith("//"):
        raise refusal(
            f"`{text}` is not an address that scripts and files can come from",
            "allowed are http:// and https:// URLs, file: URLs and paths relative to the template",
        )
    return text


def _check_output_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9\-_.]{1,64}", text):
        placeholder = re.fullmatch(r"<([\w.-]+)>", text)
        hint = f"give the placeholder a value: --parameters {placeholder[1]}=VALUE" if placeholder else None
        raise refusal(f"`{text}` is not a name of a run output: allowed are 1-64 letters, digits and `-_.`", hint)
    return text


def _check_not_empty(text: str) -> str:
    if not text.strip():
        raise refusal("must not be empty")
    return text


def _check_location(text: str) -> str:
    _check_not_empty(text)
    if not re.fullmatch(r"\w[\w .()\-]*", text.strip()):
        raise refusal(f"`{text[:80]}` is not a name of a location", "such as westus2, or a location of your own")
    return text


def resource_id_of(*types: str) -> AfterValidator:
    """Requires a well-formed ARM id of one of `types`; a closing `/*` stands for any type of that provider."""

    def check(text: str) -> str:
        try:
            found = parse_resource_id(text)
        except InputError as error:
            raise refusal(error.message, error.hint) from None
        if not any(found.is_a(wanted) for wanted in types):
            raise refusal(f"`{text}` is the id of a {found.type}; allowed is {' or '.join(types)}")
        return text

    return AfterValidator(check)


Location = Annotated[str, AfterValidator(_check_location)]
NonEmpty = Annotated[str, AfterValidator(_check_not_empty)]
Sha256Checksum = Annotated[str, AfterValidator(_check_sha256)]
ScriptAddress = Annotated[str, AfterValidator(_check_address)]
RunOutputName = Annotated[str, AfterValidator(_check_output_name)]
SubnetId = Annotated[str, resource_id_of(SUBNET)]
IdentityId = Annotated[str, resource_id_of(USER_ASSIGNED_IDENTITY)]
