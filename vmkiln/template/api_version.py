"""The api-versions an image template may be written for, and what differs between them.

Source: docs/reference/rest-api.md#api-versions.
"""

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import Mistake, TemplateInvalid

API_VERSIONS = (
    "2018-02-01-preview",
    "2019-02-01-preview",
    "2019-05-01-preview",
    "2020-02-14",
    "2021-10-01",
    "2022-02-14",
    "2022-07-01",
    "2023-07-01",
    "2024-02-01",
    NEWEST_API_VERSION,
)
STRICT_SINCE = "2024-02-01"


def known_api_version(text: str) -> str:
    """The api-version that `text` spells, in whatever case. Raises TemplateInvalid if there is none such."""
    found = text.strip().lower()
    if found not in API_VERSIONS:
        hint = f"allowed are {', '.join(API_VERSIONS)}"
        raise TemplateInvalid([Mistake("apiVersion", f"`{text}` is not a known api-version", hint)])
    return found


def is_strict(api_version: str) -> bool:
    """Whether names are case-sensitive and unknown members refused."""
    return api_version >= STRICT_SINCE


def is_preview(api_version: str) -> bool:
    """Whether the shapes of the previews are understood."""
    return api_version.endswith("-preview")
