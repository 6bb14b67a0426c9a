"""How much, and how long, the database keeps of what callers put there and do."""

from dataclasses import dataclass
from typing import Annotated

from vmkiln.setting_texts.declaration import Description
from vmkiln.setting_texts.state_directory import StateDirectory


@dataclass(frozen=True)
class Kept(StateDirectory):
    """The last of the settings. Source of the numbers "as on Azure": `store/bounded/quota.py`."""

    most_resources_of_a_type: Annotated[
        int, Description("Resources of one type in a resource group (nested: in their parent), as on Azure.", least=1)
    ] = 800
    most_resource_groups: Annotated[
        int, Description("Resource groups of a subscription, with those of builds; as on Azure.", least=1)
    ] = 980
    most_resources: Annotated[int, Description("Resources of a subscription in all.", least=1)] = 20_000
    most_resource_mib: Annotated[int, Description("What all of these take in the database, in MiB.", least=1)] = 1024
    most_role_assignments: Annotated[
        int, Description("Roles given in a subscription, and as many above all; as on Azure.", least=1)
    ] = 4000
    runs_kept_days: Annotated[
        float, Description("How long the record of an ended run is kept, but each template's newest, in days.", least=1)
    ] = 730.0
    most_runs: Annotated[int, Description("Ended runs that a subscription keeps; the oldest go first.", least=1)] = (
        10_000
    )
    operations_kept_days: Annotated[
        float, Description("How long it can be asked how a request ended that took longer, in days.", least=0.1)
    ] = 7.0
