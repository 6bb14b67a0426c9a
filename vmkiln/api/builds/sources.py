"""What a template can start from: every platform image of the catalogue in one list, and how each is had.

Azure has no such list: publishers, offers and SKUs are asked for one after the other.
"""

from typing import Any

from vmkiln.api.compute.platform_images import entries_of
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.platform_images.catalogue import is_tried
from vmkiln.platform_images.catalogue_entry import CatalogueEntry, DebianEntry, ImportedEntry, name_of, os_type_of

TYPE = "Vmkiln.Builds/sources"
ALL = f"/subscriptions/{{subscriptionId}}/providers/{TYPE}"
MADE, FETCHED, IMPORTED = "made here", "fetched", "imported"


def source_body(entry: CatalogueEntry) -> dict[str, Any]:
    """A platform image in the list; pure."""
    how = MADE if isinstance(entry, DebianEntry) else IMPORTED if isinstance(entry, ImportedEntry) else FETCHED
    return {
        "name": name_of(entry),
        "type": TYPE,
        "properties": {
            "publisher": entry.publisher,
            "offer": entry.offer,
            "sku": entry.sku,
            "osType": os_type_of(entry),
            "generation": entry.generation,
            "architecture": entry.architecture,
            "how": how,
            "isTried": is_tried(entry),
        },
    }


def list_sources(call: Call) -> Answer:
    """GET the platform images that a template can name, by their names, for whoever has a role in the subscription."""
    return Answer(200, {"value": [source_body(entry) for entry in entries_of(call)]})


ROUTES = (Route("GET", ALL, "Sources_List", Permission.ANY, list_sources),)
