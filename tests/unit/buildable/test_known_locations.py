"""A location that nobody has is told in each place of a template, with the one that was meant."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable.locations import location_mistakes, own_locations
from vmkiln.settings import Settings
from vmkiln.template.checked_template import check_image_template

COMPUTE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"


def told(place: str, *names: str, own: Callable[[], Collection[str]] | None = None) -> dict[str, str]:
    gallery = {"type": "SharedImage", "galleryImageId": f"{COMPUTE}/galleries/g/images/d"}
    body: dict[str, Any] = {
        "location": place,
        "identity": {"type": "None"},
        "properties": {
            "source": {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s"},
            "distribute": [
                {"type": "ManagedImage", "imageId": f"{COMPUTE}/images/i", "location": place, "runOutputName": "m"},
                {**gallery, "runOutputName": "a", "replicationRegions": [place, "West US 2"]},
                {**gallery, "runOutputName": "b", "targetRegions": [{"name": "eastus"}, {"name": place}]},
            ],
        },
    }
    found = location_mistakes(check_image_template(body), own or (lambda: names))
    return {mistake.path: str(mistake) for mistake in found}


@pytest.mark.parametrize("place", ["your-location", "xxx", "myRegion", "location", "TBD", "europe", "West US 22"])
def test_words_that_stand_for_a_location_are_none(place: str) -> None:
    assert told(place).keys() == {
        "location",
        "properties.distribute[0].location",
        "properties.distribute[1].replicationRegions[0]",
        "properties.distribute[2].targetRegions[1].name",
    }


@pytest.mark.parametrize("place", ["local", "West US 3", "usgovvirginia", "CHINANORTH3", "Rack 7"])
def test_azures_and_our_own_locations_are_taken(place: str) -> None:
    assert told(place, "rack7") == {}


def test_a_slip_of_the_pen_is_told_with_the_location_that_was_meant() -> None:
    assert "did you mean westeurope?" in told("WestEurop")["location"]
    assert "VMKILN_MORE_LOCATIONS" in told("xxx")["location"]


def test_our_own_are_those_of_hosts_and_of_the_operator(tmp_path: Path) -> None:
    settings = Settings(tmp_path, region="Cellar", more_locations="attic, Roof Top,")
    assert own_locations(settings, ["rack 7", ""]) == {"cellar", "attic", "rooftop", "rack7"}


def test_our_own_are_asked_for_once_and_only_where_a_location_is_rare() -> None:
    asked: list[str] = []

    def own() -> list[str]:
        asked.append("hosts and groups are read")
        return []

    assert len(told("nowhere", own=own)) == 4
    assert len(asked) == 1, "whatever a body has of them"
    assert told("westus3", own=own) == {}
    assert len(asked) == 1
