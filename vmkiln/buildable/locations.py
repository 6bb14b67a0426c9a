"""The locations that a template names: each is Azure's, `local`, or one that somebody here has.

The service says the same of where things are made (`api/protocol/tags.py`).
"""

import difflib
from collections.abc import Callable, Collection, Iterator

from vmkiln.azure_locations import LOCAL, REGIONS
from vmkiln.azure_names import plain_location
from vmkiln.errors import Mistake
from vmkiln.settings import Settings
from vmkiln.template.distribute_target import ManagedImageTarget, SharedImageTarget
from vmkiln.template.image_template import ImageTemplate

MOST_GUESSES = 100  # mistakes that are told with what was meant: each takes a fifth of a millisecond
NEAR = 0.75  # of 1, how alike a location is to the one that was meant
LOCATION_HINT = "the setting `more_locations` (VMKILN_MORE_LOCATIONS) adds one"


def own_locations(settings: Settings, regions_of_hosts: Collection[str]) -> set[str]:
    """The locations that are this service's beside Azure's: of its hosts, and of the operator; pure."""
    found = (settings.region, *settings.more_locations.split(","), *regions_of_hosts)
    return {plain_location(one) for one in found if one.strip()}


def is_everywhere(location: str) -> bool:
    """Whether a location, in its plain form, is there in each service: it is Azure's, or `local`; pure."""
    return location == LOCAL or location in REGIONS


def location_mistakes(template: ImageTemplate, own: Callable[[], Collection[str]]) -> Iterator[Mistake]:
    """A mistake for each place with a location that nobody has; `own` is asked once, for what Azure does not have."""
    rare = [place for place in _locations(template) if not is_everywhere(plain_location(place[1]))]
    if not rare:
        return
    known = {plain_location(one) for one in own()}
    wrong = [place for place in rare if plain_location(place[1]) not in known]
    taken = sorted(REGIONS | known)
    for number, (path, written) in enumerate(wrong):
        hint = f"{_guess(written, taken)}{LOCATION_HINT}" if number < MOST_GUESSES else LOCATION_HINT
        yield Mistake(path, f"`{written[:80]}` is no location that is known", hint)


def _guess(written: str, taken: Collection[str]) -> str:
    near = difflib.get_close_matches(plain_location(written), taken, 3, NEAR)
    return f"did you mean {' or '.join(near)}? " if near else "such as westus2; "


def _locations(template: ImageTemplate) -> Iterator[tuple[str, str]]:
    yield "location", template.location
    for index, target in enumerate(template.properties.distribute):
        where = f"properties.distribute[{index}]"
        match target:
            case ManagedImageTarget(location=location):
                yield f"{where}.location", location
            case SharedImageTarget():
                for number, region in enumerate(target.target_regions):
                    yield f"{where}.targetRegions[{number}].name", region.name
                for number, name in enumerate(target.replication_regions):
                    yield f"{where}.replicationRegions[{number}]", name
