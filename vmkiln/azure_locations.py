"""Azure's locations: the short name of each, which is what its display name is turned into.

Source: "List of Azure regions". A location that is not known is left as it is written: regions are added, and a
location of one's own may name a host.
"""

LOCATIONS = frozenset(
    (
        *("asia", "asiapacific", "australia", "australiacentral", "australiacentral2", "australiaeast"),
        *("australiasoutheast", "austriaeast", "belgiumcentral", "brazil", "brazilsouth", "brazilsoutheast", "canada"),
        *("canadacentral", "canadaeast", "centralindia", "centralus", "centraluseuap", "chilecentral", "chinaeast"),
        *("chinaeast2", "chinaeast3", "chinanorth", "chinanorth2", "chinanorth3", "denmarkeast", "eastasia", "eastus"),
        *("eastus2", "eastus2euap", "eastusstg", "europe", "france", "francecentral", "francesouth", "germany"),
        *("germanynorth", "germanywestcentral", "global", "india", "indonesiacentral", "israel", "israelcentral"),
        *("italy", "italynorth", "japan", "japaneast", "japanwest", "jioindiacentral", "jioindiawest", "korea"),
        *("koreacentral", "koreasouth", "malaysiawest", "mexicocentral", "newzealand", "newzealandnorth"),
        *("northcentralus", "northeurope", "norway", "norwayeast", "norwaywest", "poland", "polandcentral", "qatar"),
        *("qatarcentral", "singapore", "southafrica", "southafricanorth", "southafricawest", "southcentralus"),
        *("southcentralusstg", "southeastasia", "southindia", "spaincentral", "sweden", "swedencentral"),
        *("swedensouth", "switzerland", "switzerlandnorth", "switzerlandwest", "taiwannorth", "taiwannorthwest"),
        *("uae", "uaecentral", "uaenorth", "uk", "uksouth", "ukwest", "unitedstates", "usdodcentral", "usdodeast"),
        *("usgovarizona", "usgoviowa", "usgovtexas", "usgovvirginia", "westcentralus", "westeurope", "westindia"),
        *("westus", "westus2", "westus3"),
    )
)


def usual_location(text: str) -> str:
    """A location as Azure answers it: `West US 2` is `westus2`; one that is not known stays as it is written."""
    plain = "".join(text.split()).lower()
    return plain if plain in LOCATIONS else text
