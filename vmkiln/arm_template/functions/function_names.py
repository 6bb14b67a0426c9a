"""Every function of ARM templates by the name it is written with, for messages and for the documentation.

Names are without regard to case; the tables of functions have them in lower case.
"""

import difflib

FUNCTION_NAMES = (
    # text
    *("base64", "base64ToJson", "base64ToString", "concat", "dataUri", "dataUriToString", "endsWith", "format"),
    *("indexOf", "join", "json", "lastIndexOf", "like", "padLeft", "replace", "split", "startsWith", "string"),
    *("substring", "toLower", "toUpper", "trim", "uri", "uriComponent", "uriComponentToString", "parseUri", "buildUri"),
    # arrays and objects
    *("array", "contains", "createArray", "createObject", "distinct", "empty", "first", "flatten", "indexFromEnd"),
    *("intersection", "items", "last", "length", "objectKeys", "range", "shallowMerge", "skip", "take", "tryGet"),
    *("tryIndexFromEnd", "union"),
    # elements
    *("filter", "groupBy", "lambda", "lambdaVariables", "map", "mapValues", "reduce", "sort", "toObject"),
    # numbers
    *("add", "div", "float", "int", "max", "min", "mod", "mul", "sub"),
    # comparison and logic
    *("and", "bool", "coalesce", "equals", "fail", "false", "greater", "greaterOrEquals", "if", "less"),
    *("lessOrEquals", "not", "null", "or", "true"),
    # dates and networks
    *("dateTimeAdd", "dateTimeFromEpoch", "dateTimeToEpoch", "utcNow", "cidrHost", "cidrSubnet", "parseCidr"),
    # the deployment
    *("copyIndex", "deployer", "deployment", "environment", "parameters", "variables"),
    # ids and names
    *("extensionResourceId", "guid", "managementGroup", "managementGroupResourceId", "newGuid", "pickZones"),
    *("resourceGroup", "resourceId", "roleDefinitions", "subscription", "subscriptionResourceId", "tenant"),
    "tenantResourceId",
    *("toLogicalZone", "toLogicalZones", "toPhysicalZone", "toPhysicalZones", "uniqueString"),
    # resources as they are
    *("listKeys", "providers", "reference", "references", "resourceInfo"),
)
_BY_LOWER = {name.lower(): name for name in FUNCTION_NAMES}


def near_functions(name: str) -> str:
    """Names near to an unknown one, for a hint; empty if none is."""
    near = difflib.get_close_matches(name.lower(), _BY_LOWER, 2, 0.7)
    return " or ".join(f"`{_BY_LOWER[each]}`" for each in near)
