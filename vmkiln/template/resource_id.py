"""ARM ids such as `/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i`: parse, compare, print.

Ids are compared without regard to case and printed as they were written (docs/reference/rest-api.md#on-the-wire).
"""

import re
from dataclasses import dataclass
from itertools import chain

from vmkiln.azure_names import RESOURCE_GROUP
from vmkiln.errors import InputError

# What may stand between two slashes: enough for every Azure name, never a path trick or an unfilled `<placeholder>`.
_SEGMENT = re.compile(r"[\w.(){}\- ,'!@$&+=~]{1,260}")


@dataclass(frozen=True, eq=False)
class ResourceId:
    """One ARM id. `types` and `names` go together: ("galleries", "images") and ("golden", "debian").

    A resource group's own id has no provider; a shared gallery's id has no resource group.
    """

    subscription_id: str
    resource_group: str
    provider: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def type(self) -> str:
        """The full type, such as `Microsoft.Compute/galleries/images`."""
        if not self.provider:
            return RESOURCE_GROUP
        return "/".join((self.provider, *self.types))

    @property
    def name(self) -> str:
        """The last name; of a resource group's id, the resource group."""
        return self.names[-1] if self.names else self.resource_group

    @property
    def key(self) -> str:
        """The id in lower case: equal for ids that mean the same resource; fit for a table or a folder."""
        return str(self).lower()

    @property
    def parent(self) -> "ResourceId | None":
        """The id one level up: of an image version, its image definition; of a top-level resource, None."""
        if len(self.names) < 2:
            return None
        return ResourceId(self.subscription_id, self.resource_group, self.provider, self.types[:-1], self.names[:-1])

    def child(self, type_name: str, name: str) -> "ResourceId":
        """The id one level down, such as definition.child("versions", "1.0.0")."""
        types, names = (*self.types, type_name), (*self.names, name)
        return ResourceId(self.subscription_id, self.resource_group, self.provider, types, names)

    def is_a(self, full_type: str) -> bool:
        """Whether this id is of that full type, whatever the case."""
        return self.type.lower() == full_type.lower()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceId) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription_id}" if self.subscription_id else ""
        text += f"/resourceGroups/{self.resource_group}" if self.resource_group else ""
        if self.provider:
            text += f"/providers/{self.provider}/"
            text += "/".join(chain.from_iterable(zip(self.types, self.names, strict=True)))
        return text


def parse_resource_id(text: str) -> ResourceId:
    """The id that `text` spells. Raises InputError saying which part is wrong."""
    if not text.startswith("/"):
        raise InputError(f"`{text}` is not an ARM id", hint="an ARM id starts with /subscriptions/")
    segments = text.strip("/").split("/")
    for segment in segments:
        _check_segment(segment, text)
    subscription_id, segments = _take(segments, "subscriptions")
    resource_group, segments = _take(segments, "resourceGroups")
    if not subscription_id:
        raise InputError(f"the ARM id `{text}` does not start with /subscriptions/<id>")
    if not segments and resource_group:
        return ResourceId(subscription_id, resource_group, "", (), ())
    if len(segments) < 4 or segments[0].lower() != "providers" or len(segments) % 2:
        raise InputError(
            f"the ARM id `{text}` is incomplete",
            hint="its shape is /subscriptions/<id>/resourceGroups/<group>/providers/<provider>/<type>/<name>",
        )
    return ResourceId(subscription_id, resource_group, segments[1], tuple(segments[2::2]), tuple(segments[3::2]))


def _take(segments: list[str], word: str) -> tuple[str, list[str]]:
    if len(segments) >= 2 and segments[0].lower() == word.lower():
        return segments[1], segments[2:]
    return "", segments


def _check_segment(segment: str, text: str) -> None:
    if segment.startswith("<") and segment.endswith(">"):
        name = segment.strip("<>")
        raise InputError(
            f"the ARM id `{text}` still holds the placeholder `{segment}`",
            hint=f"replace it in the file, or give it a value: --parameters {name}=VALUE",
        )
    if not _SEGMENT.fullmatch(segment) or not segment.strip(". "):
        raise InputError(f"the ARM id `{text}` has the part `{segment}`, which cannot be a name")
