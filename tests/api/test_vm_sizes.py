"""The VM sizes as `az vm list-skus` and `az vm list-sizes` ask for them."""

from typing import Any

import pytest
from in_process import BASE, SUBSCRIPTION, InProcess, code_of

from vmkiln.template.vm_size import sizes_by_name

COMPUTE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"
ONE_PLACE = "$filter=location%20eq%20'West%20US%202'"


def pages(service: InProcess, path: str) -> list[list[dict[str, Any]]]:
    found, link = [], BASE + path
    while link:
        answer = service.get(link, api_version="2019-04-01").json()
        found.append(answer["value"])
        link = answer.get("nextLink", "")
    return found


def test_every_size_is_told_in_pages(service: InProcess) -> None:
    found = pages(service, f"{COMPUTE}/skus?{ONE_PLACE}")
    sizes = [size for page in found for size in page]
    assert [size["name"].lower() for size in sizes] == list(sizes_by_name())
    assert max(map(len, found)) == 200
    assert {tuple(size["locations"]) for size in sizes} == {("westus2",)}
    [arm] = [size for size in sizes if size["name"] == "Standard_D2ps_v5"]
    told = {item["name"]: item["value"] for item in arm["capabilities"]}
    assert (told["vCPUs"], told["MemoryGB"], told["CpuArchitectureType"]) == ("2", "8", "Arm64")
    assert (arm["tier"], arm["size"], arm["restrictions"]) == ("Standard", "D2ps_v5", [])


def test_without_a_filter_a_size_is_in_every_location(service: InProcess) -> None:
    first = service.get(f"{COMPUTE}/skus").json()["value"][0]
    assert {"local", "westus2", "westeurope"} <= set(first["locations"])
    assert [item["location"] for item in first["locationInfo"]] == first["locations"]


def test_the_sizes_of_a_location_come_at_once(service: InProcess) -> None:
    found = service.get(f"{COMPUTE}/locations/westus2/vmSizes").json()
    assert "nextLink" not in found
    shapes = {item["name"]: (item["numberOfCores"], item["memoryInMB"]) for item in found["value"]}
    assert (len(shapes), shapes["Standard_D1_v2"]) == (len(sizes_by_name()), (1, 3584))


@pytest.mark.parametrize("query", ["$filter=name%20eq%20'x'", "$skiptoken=x", "$skiptoken=-1"])
def test_a_question_for_sizes_that_makes_no_sense_is_refused(service: InProcess, query: str) -> None:
    refused = service.get(f"{COMPUTE}/skus?{query}")
    assert (refused.status_code, code_of(refused)[:7]) == (400, "Invalid")


def test_sizes_are_told_to_who_sees_the_subscription(service: InProcess) -> None:
    for path in ("skus", "locations/westus2/vmSizes", "locations/westus2/usages"):
        assert service.get(f"{COMPUTE}/{path}", token="reader").status_code == 200
        assert service.get(f"{COMPUTE}/{path}", token="stranger").status_code == 404
