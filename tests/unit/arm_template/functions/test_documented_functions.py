"""Every function of the documentation gives what Azure's reference says: values of our own, one line or more each."""

# ruff: noqa: E501 (one example a line)

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.evaluation import RUNTIME_FUNCTIONS, SPECIAL_FUNCTIONS, Scope, evaluate_value
from vmkiln.arm_template.functions.function_names import FUNCTION_NAMES
from vmkiln.arm_template.functions.general_functions import FUNCTIONS
from vmkiln.arm_template.functions.place_functions import PLACE_FUNCTIONS
from vmkiln.errors import Mistake, TemplateInvalid

DOCS = Path(__file__).parents[4] / "docs/arm-functions.md"
CONTEXT = DeploymentContext(
    subscription_id="s1",
    resource_group="g1",
    location="westus2",
    tenant_id="t1",
    template_name="d1",
    deployer_id="o1",
    deployer_name="me",
    content_version="1.2.3.4",
    now=datetime(2026, 3, 4, 15, 6, 7, 89_000, tzinfo=UTC),
    new_guid=UUID("12345678-1234-5678-1234-567812345678"),
)
VALUES: dict[str, Any] = {
    "pets": [{"n": "Rex", "age": 9, "kind": "dog"}, {"n": "Tom", "age": 2, "kind": "cat"}, {"n": "Ida", "age": 4, "kind": "dog"}],
    "o": {"b": 2, "a": {"x": 1}},
}  # fmt: skip
G = "/subscriptions/s1/resourceGroups/g1"
DOG = "lambda('p', equals(lambdaVariables('p').kind, 'dog'))"

EXAMPLES: list[tuple[str, Any]] = [
    # text
    ("base64('kiln')", "a2lsbg=="),
    ("base64ToString('a2lsbg==')", "kiln"),
    ("base64ToJson('eyJhIjoxfQ==')", {"a": 1}),
    ("base64ToJson(base64('{''one'': ''a'', two: ''b\\''c''}'))", {"one": "a", "two": "b'c"}),
    ("base64ToString('a2ls bg==')", "kiln"),
    ("concat('a', 'b', 3)", "ab3"),
    ("concat(createArray('a'), createArray('b', 'c'))", ["a", "b", "c"]),
    ("dataUri('kiln')", "data:text/plain;charset=utf8;base64,a2lsbg=="),
    ("dataUriToString('data:;base64,a2lsbg==')", "kiln"),
    ("dataUriToString('data:text/plain,a%20b')", "a b"),
    ("endsWith('kiln.JSON', '.json')", True),
    ("format('{0}, {1}. {0:N0} {2}', 8175133, 'x', true())", "8175133, x. 8,175,133 True"),
    ("format('[{0, 4}|{0,-4}|{1:D2}]', 'ab', '7')", "[  ab|ab  |7]"),
    ("format('{0:#,##0.0}', 1234)", "1,234.0"),
    ("indexOf('brick', 'RI')", 1),
    ("indexOf('brick', 'z')", -1),
    ("indexOf(createArray('a', 'b', 'a'), 'a')", 0),
    ("join(createArray('a', 'b', 'c'), '-')", "a-b-c"),
    ("json('{\"a\":[true,null]}')", {"a": [True, None]}),
    ("lastIndexOf('brick bri', 'BRI')", 6),
    ("lastIndexOf(createArray('a', 'b', 'a'), 'a')", 2),
    ("map(createArray('brick', 'B*K', '*ric*', '**', 'b*r*i*c*k', '*k'), lambda('p', like('Brick', lambdaVariables('p'))))", [True] * 6),
    ("map(createArray('bric', 'b*c', 'brick*k', 'b*rr*k', '', 'x*'), lambda('p', like('Brick', lambdaVariables('p'))))", [False] * 6),
    ("like('', '***')", True),
    ("like('aba', 'ab*ba')", False),
    ("padLeft('42', 6, '0')", "000042"),
    ("parseUri('HTTPS://X.example:8443/a/b%20c?d=e&f')", {"scheme": "https", "host": "x.example", "port": 8443, "path": "/a/b%20c", "query": "?d=e&f"}),
    ("parseUri('http://[fd00::1]')", {"scheme": "http", "host": "[fd00::1]", "port": 80, "path": "/", "query": ""}),
    ("buildUri(createObject('scheme', 'https', 'host', 'x.example', 'port', 8443, 'path', 'a/b', 'query', 'c=d'))", "https://x.example:8443/a/b?c=d"),
    ("buildUri(createObject('scheme', 'https', 'host', 'fd00::1', 'port', 443, 'path', null()))", "https://[fd00::1]/"),
    ("buildUri(parseUri('https://x.example/a?b=c'))", "https://x.example/a?b=c"),
    ("replace('1-2-3', '-', '')", "123"),
    ("split('a,b,c', ',')", ["a", "b", "c"]),
    ("split('a,b;c', createArray(',', ';'))", ["a", "b", "c"]),
    ("startsWith('Kiln', 'ki')", True),
    ("string(createArray('a', 1))", '["a",1]'),
    ("string(createObject('a', 'b'))", '{"a":"b"}'),
    ("string(7)", "7"),
    ("substring('one two', 4, 3)", "two"),
    ("toLower('KiLn')", "kiln"),
    ("toUpper('KiLn')", "KILN"),
    ("trim('  kiln ')", "kiln"),
    ("uri('https://x.example/first', 'a.sh')", "https://x.example/a.sh"),
    ("uri('https://x.example/first/', 'a.sh')", "https://x.example/first/a.sh"),
    ("uriComponent('https://x.example/a b')", "https%3A%2F%2Fx.example%2Fa%20b"),
    ("uriComponentToString('a%20b%2F')", "a b/"),
    # arrays and objects
    ("array('a')", ["a"]),
    ("array(createArray(1))", [1]),
    ("contains('brick', 'ic')", True),
    ("contains(createArray(1, 2), 3)", False),
    ("contains(variables('o'), 'A')", True),
    ("createArray(1, 'b', null())", [1, "b", None]),
    ("createObject('a', 1, 'b', false())", {"a": 1, "b": False}),
    ("distinct(createArray('a', 'A', 'a', 1, true(), createObject('x', 1), createObject('x', 1)))", ["a", "A", 1, True, {"x": 1}]),
    ("empty(createArray())", True),
    ("empty(createObject())", True),
    ("empty('x')", False),
    ("first(createArray('a', 'b'))", "a"),
    ("first('kiln')", "k"),
    ("flatten(createArray(createArray(1), createArray(2, 3)))", [1, 2, 3]),
    ("indexFromEnd(createArray('a', 'b', 'c'), 1)", "c"),
    ("intersection(createArray(1, 2, 3), createArray(3, 2))", [2, 3]),
    ("intersection(createArray(1, 1, 2), createArray(2, 1))", [1, 2]),
    ("intersection(createObject('a', 1, 'b', 2), createObject('a', 1, 'b', 3))", {"a": 1}),
    ("items(variables('o'))", [{"key": "a", "value": {"x": 1}}, {"key": "b", "value": 2}]),
    ("last(createArray('a', 'b'))", "b"),
    ("last('kiln')", "n"),
    ("length('kiln')", 4),
    ("length(variables('o'))", 2),
    ("objectKeys(variables('o'))", ["a", "b"]),
    ("range(5, 3)", [5, 6, 7]),
    ("shallowMerge(createArray(createObject('a', 1), variables('o')))", {"a": {"x": 1}, "b": 2}),
    ("skip(createArray(1, 2, 3), 2)", [3]),
    ("skip('kiln', 1)", "iln"),
    ("take(createArray(1, 2, 3), 2)", [1, 2]),
    ("take('kiln', 2)", "ki"),
    ("tryGet(variables('o'), 'a', 'x')", 1),
    ("tryGet(variables('o'), 'nothing', 'x')", None),
    ("tryGet(createArray('a', 'b'), createObject('value', 1, 'fromEnd', true()))", "b"),
    ("tryIndexFromEnd(createArray('a', 'b', 'c'), 2)", "b"),
    ("tryIndexFromEnd(createArray('a'), 2)", None),
    ("tryIndexFromEnd(createArray(variables('o')), 1, 'a', 'x')", 1),
    ("union(createArray(1, 2), createArray(2, 3))", [1, 2, 3]),
    ("union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))", {"a": {"x": 1, "y": 2}}),
    # elements
    (f"map(filter(variables('pets'), {DOG}), lambda('p', lambdaVariables('p').n))", ["Rex", "Ida"]),
    ("filter(range(0, 4), lambda('v', 'i', greater(lambdaVariables('i'), 1)))", [2, 3]),
    ("groupBy(variables('pets'), lambda('p', lambdaVariables('p').kind)).cat[0].n", "Tom"),
    ("map(createArray('a', 'b'), lambda('v', 'i', format('{0}{1}', lambdaVariables('v'), lambdaVariables('i'))))", ["a0", "b1"]),
    ("mapValues(createObject('a', 'x'), lambda('v', toUpper(lambdaVariables('v'))))", {"a": "X"}),
    ("reduce(range(1, 4), 0, lambda('c', 'n', add(lambdaVariables('c'), lambdaVariables('n'))))", 10),
    ("map(sort(variables('pets'), lambda('a', 'b', less(lambdaVariables('a').age, lambdaVariables('b').age))), lambda('p', lambdaVariables('p').age))", [2, 4, 9]),
    ("toObject(createArray('a', 'b'), lambda('v', lambdaVariables('v')))", {"a": "a", "b": "b"}),
    ("toObject(variables('pets'), lambda('p', lambdaVariables('p').n), lambda('p', lambdaVariables('p').age))", {"Rex": 9, "Tom": 2, "Ida": 4}),
    # numbers
    ("add(5, 3)", 8),
    ("div(8, 3)", 2),
    ("div(-7, 2)", -3),
    ("float('3.5')", 3.5),
    ("float(2)", 2.0),
    ("int('42')", 42),
    ("max(1, 4, 3)", 4),
    ("max(createArray(1, 4, 3))", 4),
    ("min(createArray(3, 1, 2))", 1),
    ("mod(7, 3)", 1),
    ("mul(5, 3)", 15),
    ("sub(5, 8)", -3),
    # comparison and logic
    ("and(true(), equals(1, 1), true())", True),
    ("bool('True')", True),
    ("bool(0)", False),
    ("coalesce(null(), 'a', 'b')", "a"),
    ("equals(createObject('a', 1), createObject('a', 1))", True),
    ("false()", False),
    ("greater(2, 1)", True),
    ("greaterOrEquals('a', 'a')", True),
    ("if(true(), 'yes', fail('not asked'))", "yes"),
    ("less('a', 'b')", True),
    ("lessOrEquals(2, 1)", False),
    ("not(false())", True),
    ("null()", None),
    ("or(false(), true(), fail('not asked'))", True),
    ("true()", True),
    # dates
    ("dateTimeAdd('2026-01-31T10:00:00Z', 'P3D')", "2026-02-03T10:00:00Z"),
    ("dateTimeAdd('2026-01-31 10:00:00Z', '-P9D')", "1/22/2026 10:00:00 AM"),
    ("dateTimeAdd('20260131T100000Z', 'PT1H30M', 'yyyy-MM-dd HH:mm')", "2026-01-31 11:30"),
    ("dateTimeAdd('2026-01-01T00:00:00+02:00', 'P1W')", "2026-01-07T22:00:00Z"),
    ("dateTimeAdd('4/7/2026 2:53:14 PM', 'P1Y')", "4/7/2027 2:53:14 PM"),
    ("dateTimeFromEpoch(1767225600)", "2026-01-01T00:00:00Z"),
    ("dateTimeToEpoch('2026-01-01T00:00:00Z')", 1767225600),
    ("dateTimeToEpoch(dateTimeFromEpoch(12))", 12),
    ("utcNow()", "20260304T150607Z"),
    ("utcNow('d')", "03/04/2026"),
    ("utcNow('M d')", "3 4"),
    ("utcNow('h:mm tt')", "3:06 PM"),
    # networks
    ("parseCidr('10.20.0.0/20')", {"network": "10.20.0.0", "netmask": "255.255.240.0", "broadcast": "10.20.15.255", "firstUsable": "10.20.0.1", "lastUsable": "10.20.15.254", "cidr": 20}),
    ("parseCidr('fd00:1:2::/48')", {"network": "fd00:1:2::", "netmask": "ffff:ffff:ffff::", "firstUsable": "fd00:1:2::", "lastUsable": "fd00:1:2:ffff:ffff:ffff:ffff:ffff", "cidr": 48}),
    ("parseCidr('10.0.0.7/31').lastUsable", "10.0.0.7"),
    ("map(range(0, 3), lambda('i', cidrSubnet('10.20.0.0/20', 24, lambdaVariables('i'))))", ["10.20.0.0/24", "10.20.1.0/24", "10.20.2.0/24"]),
    ("cidrSubnet('fd00:1:2::/48', 52, 1)", "fd00:1:2:1000::/52"),
    ("map(range(0, 2), lambda('i', cidrHost('10.20.3.0/24', lambdaVariables('i'))))", ["10.20.3.1", "10.20.3.2"]),
    ("cidrHost('fd00:1:2:3000::/52', 0)", "fd00:1:2:3000::1"),
    ("cidrHost('10.0.0.6/31', 1)", "10.0.0.7"),
    # the deployment
    ("copyIndex()", 3),
    ("copyIndex('loop', 1)", 4),
    ("deployer()", {"objectId": "o1", "tenantId": "t1", "userPrincipalName": "me"}),
    ("deployment().name", "d1"),
    ("deployment().properties.template.contentVersion", "1.2.3.4"),
    ("environment().name", "AzureCloud"),
    ("environment().suffixes.keyvaultDns", ".vault.azure.net"),
    ("environment().authentication.audiences[1]", "https://management.azure.com/"),
    ("parameters('p')", "given"),
    ("variables('o').b", 2),
    # ids and names
    ("resourceGroup().location", "westus2"),
    ("resourceId('A.B/c', 'd')", f"{G}/providers/A.B/c/d"),
    ("resourceId('g2', 'A.B/c/e', 'd', 'f')", "/subscriptions/s1/resourceGroups/g2/providers/A.B/c/d/e/f"),
    ("resourceId('s2', 'g2', 'A.B/c', 'd')", "/subscriptions/s2/resourceGroups/g2/providers/A.B/c/d"),
    ("subscription().subscriptionId", "s1"),
    ("subscriptionResourceId('A.B/c', 'd')", "/subscriptions/s1/providers/A.B/c/d"),
    ("subscriptionResourceId('s2', 'A.B/c', 'd')", "/subscriptions/s2/providers/A.B/c/d"),
    ("tenantResourceId('A.B/c', 'd')", "/providers/A.B/c/d"),
    ("managementGroupResourceId('A.B/c', 'd')", "/providers/Microsoft.Management/managementGroups/t1/providers/A.B/c/d"),
    ("managementGroupResourceId('m', 'A.B/c', 'd')", "/providers/Microsoft.Management/managementGroups/m/providers/A.B/c/d"),
    ("managementGroup().name", "t1"),
    ("extensionResourceId(resourceId('A.B/c', 'd'), 'X.Y/z', 'n')", f"{G}/providers/A.B/c/d/providers/X.Y/z/n"),
    ("extensionResourceId(resourceGroup().id, 'X.Y/z', 'n')", f"{G}/providers/X.Y/z/n"),
    ("roleDefinitions('contributor').roleDefinitionId", "b24988ac-6180-42a0-ab88-20f7382dd24c"),
    ("roleDefinitions('AcrPull').id", "/subscriptions/s1/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d"),
    ("tenant().tenantId", "t1"),
    ("equals(guid('a', 'b'), guid('a', 'b'))", True),
    ("newGuid()", "12345678-1234-5678-1234-567812345678"),
    ("uniqueString('hello', 'world')", "a7wkljktk6wne"),
    ("pickZones('Microsoft.Compute', 'virtualMachines', 'westus2')", ["1"]),
    ("pickZones('Microsoft.Compute', 'virtualMachines', 'westus2', 2, 1)", ["2", "3"]),
    ("toLogicalZone('s1', 'westus2', 'westus2-az2')", "2"),
    ("toLogicalZones('s1', 'westus2', createArray('westus2-az2', 'westus2-az1'))", ["2", "1"]),
    ("toPhysicalZone('s1', 'West US 2', '2')", "westus2-az2"),
    ("toPhysicalZones('s1', 'westus2', createArray('1'))", ["westus2-az1"]),
    # resources as they are
    ("reference('x').told", "reference"),
    ("references('x').told", "references"),
    ("resourceInfo('x').told", "resourceinfo"),
    ("listKeys('x', '2023-01-01').told", "listkeys"),
]  # fmt: skip


def value_of(expression: str) -> Any:
    def parameter(_name: str, _path: str) -> Any:
        return "given"

    def variable(name: str, path: str) -> Any:
        if name not in VALUES:
            raise TemplateInvalid([Mistake(path, "no such variable")])
        return VALUES[name]

    scope = Scope(
        CONTEXT,
        parameter,
        variable,
        lambda _name, _path: None,
        copy_indexes={"": 3, "loop": 3},
        runtime=lambda function, _arguments, _path: {"told": function},
    )
    return evaluate_value(f"[{expression}]", scope, "here")


@pytest.mark.parametrize(("expression", "expected"), EXAMPLES, ids=[expression[:60] for expression, _ in EXAMPLES])
def test_a_documented_example_gives_what_it_says(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected


def test_every_function_has_an_example() -> None:
    asked = {name.lower() for expression, _ in EXAMPLES for name in re.findall(r"(\w+)\(", expression)}
    assert {name for name in FUNCTION_NAMES if name.lower() not in asked} == {"providers"}


def test_every_function_has_its_name_and_stands_in_the_documentation() -> None:
    known = {*FUNCTIONS, *PLACE_FUNCTIONS, *SPECIAL_FUNCTIONS, *RUNTIME_FUNCTIONS, "listkeys"}
    assert known == {name.lower() for name in FUNCTION_NAMES}
    told = set(re.findall(r"`(\w+)`", DOCS.read_text().partition("|---|---|")[2].partition("\n\n")[0]))
    assert told | {"listKeys"} == set(FUNCTION_NAMES)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("dateTimeAd('a', 'b')", "`dateTimeAdd`"),
        ("resorceId('A.B/c', 'd')", "`resourceId`"),
        ("dateTimeAdd('yesterday', 'P1D')", "not a date and time"),
        ("dateTimeAdd('2026-01-01', '3 days')", "not a duration"),
        ("dateTimeAdd('2026-13-41T00:00:00Z', 'P1D')", "dateTimeAdd()"),
        ("dateTimeAdd('9999-12-31', 'P1D')", "dateTimeAdd()"),
        ("dateTimeFromEpoch(99999999999999)", "dateTimeFromEpoch()"),
        ("dateTimeFromEpoch(9223372036854775807)", "dateTimeFromEpoch()"),
        ("dateTimeFromEpoch(-9223372036854775807)", "dateTimeFromEpoch()"),
        ("parseCidr('10.0.0.0')", "CIDR notation"),
        ("parseCidr('300.0.0.0/8')", "CIDR notation"),
        ("cidrSubnet('10.0.0.0/24', 16, 0)", "from 24 to 32"),
        ("cidrSubnet('10.0.0.0/24', 25, 2)", "2 subnets of /25"),
        ("cidrHost('10.0.0.0/30', 2)", "2 usable addresses"),
        ("dataUriToString('kiln')", "not a data URI"),
        ("uri('folder/', 'a.sh')", "not an address to begin with"),
        ("format('{0:C}', 5)", "the format `C` is not supported"),
        ("indexFromEnd(createArray(1), 2)", "none at 2"),
        ("fail('own words')", "own words"),
        ("float('x')", "is not a number"),
        ("filter(range(0, 2), lambda('x', 1))", "must be true or false"),
        ("providers('A.B', 'c')", "write the api-version"),
        ("pickZones('A', 'b', 'c', 4)", "3 zones"),
        ("parseUri('x.example/a')", "not an address such as"),
        ("parseUri('https://x.example:port/')", "not a well-formed address"),
        ("buildUri('https://x.example')", "expected an object"),
        ("buildUri(createObject('scheme', 'https', 'host', 'a/b'))", "those of an address"),
        ("buildUri(createObject('scheme', 'https', 'host', 'a', 'port', 65536))", "from 0 to 65535"),
        ("buildUri(createObject('scheme', 'https', 'host', 'a', 'prot', 1))", "`prot` is no part of an address"),
        ("buildUri(createObject('scheme', 'https'))", "`host` must be a string"),
        ("distinct('abc')", "expected an array"),
        ("roleDefinitions('Contributer')", "did you mean 'Contributor'"),
    ],
)
def test_what_cannot_be_is_said(expression: str, words: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        value_of(expression)
    assert words in str(caught.value)
