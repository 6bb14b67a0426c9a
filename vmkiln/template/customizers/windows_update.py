"""`WindowsUpdate`: install updates in a Windows build VM.

Source: docs/reference/image-template.md#customizers.
"""

from typing import Annotated, Literal

from pydantic import Field

from vmkiln.template.part import Part


class WindowsUpdateCustomizer(Part):
    """A WindowsUpdate step; `filters` are applied in order, at most `update_limit` updates are installed a round."""

    zero_means_default = frozenset({"updateLimit"})
    type: Literal["WindowsUpdate"]
    name: str = ""
    search_criteria: str = "BrowseOnly=0 and IsInstalled=0"
    filters: tuple[str, ...] = ()
    update_limit: Annotated[int, Field(ge=0)] = 1000
