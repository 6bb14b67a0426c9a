"""Azure's locations: the short name of each, which is what its display name is turned into.

Source: "List of Azure regions". A location that is not known is left as it is written: regions are added, and a
location of one's own may name a host. Regions are those locations in which things are made; the others are countries
and continents.
"""

LOCAL = "local"  # this machine

LOCATIONS = frozenset(
    (
        *("asia", "asiapacific", "australia", "australiacentral", "australiacentral2", "australiaeast"),
        *("australiasoutheast", "austriaeast", "belgiumcentral", "brazil", "brazilsouth", "brazilsoutheast"),
        *("brazilus", "canada", "canadacentral", "canadaeast", "centralindia", "centralus", "centraluseuap"),
        *("chilecentral", "chinaeast", "chinaeast2", "chinaeast3", "chinanorth", "chinanorth2", "chinanorth3"),
        *("denmarkeast", "eastasia", "eastus", "eastus2", "eastus2euap", "eastus3", "eastusstg", "europe", "france"),
        *("francecentral", "francesouth", "germany", "germanynorth", "germanywestcentral", "global", "india"),
        *("indonesiacentral", "israel", "israelcentral", "italy", "italynorth", "japan", "japaneast", "japanwest"),
        *("jioindiacentral", "jioindiawest", "korea", "koreacentral", "koreasouth", "malaysiawest", "mexicocentral"),
        *("newzealand", "newzealandnorth", "northcentralus", "northeurope", "norway", "norwayeast", "norwaywest"),
        *("poland", "polandcentral", "qatar", "qatarcentral", "saudiarabiaeast", "singapore", "southafrica"),
        *("southafricanorth", "southafricawest", "southcentralus", "southcentralus2", "southcentralusstg"),
        *("southeastasia", "southeastus", "southindia", "spaincentral", "sweden", "swedencentral", "swedensouth"),
        *("switzerland", "switzerlandnorth", "switzerlandwest", "taiwannorth", "taiwannorthwest", "uae"),
        *("uaecentral", "uaenorth", "uk", "uksouth", "ukwest", "unitedstates", "usdodcentral", "usdodeast"),
        *("usgovarizona", "usgoviowa", "usgovtexas", "usgovvirginia", "westcentralus", "westeurope", "westindia"),
        *("westus", "westus2", "westus3"),
    )
)
# named beside the regions: nothing is made in one of them
_WIDER = frozenset(
    (
        *("asia", "asiapacific", "australia", "brazil", "canada", "europe", "france", "germany", "global", "india"),
        *("israel", "italy", "japan", "korea", "newzealand", "norway", "poland", "qatar", "singapore", "southafrica"),
        *("sweden", "switzerland", "uae", "uk", "unitedstates"),
    )
)
REGIONS = LOCATIONS - _WIDER
# the locations that clients are shown, with their display names
TITLES = {
    "local": "This machine",
    "australiaeast": "Australia East",
    "brazilsouth": "Brazil South",
    "canadacentral": "Canada Central",
    "centralindia": "Central India",
    "centralus": "Central US",
    "eastasia": "East Asia",
    "eastus": "East US",
    "eastus2": "East US 2",
    "francecentral": "France Central",
    "germanywestcentral": "Germany West Central",
    "japaneast": "Japan East",
    "koreacentral": "Korea Central",
    "northcentralus": "North Central US",
    "northeurope": "North Europe",
    "norwayeast": "Norway East",
    "southafricanorth": "South Africa North",
    "southcentralus": "South Central US",
    "southeastasia": "Southeast Asia",
    "swedencentral": "Sweden Central",
    "switzerlandnorth": "Switzerland North",
    "uaenorth": "UAE North",
    "uksouth": "UK South",
    "ukwest": "UK West",
    "westcentralus": "West Central US",
    "westeurope": "West Europe",
    "westus": "West US",
    "westus2": "West US 2",
    "westus3": "West US 3",
}


def usual_location(text: str) -> str:
    """A location as Azure answers it: `West US 2` is `westus2`; one that is not known stays as it is written."""
    plain = "".join(text.split()).lower()
    return plain if plain in LOCATIONS else text
