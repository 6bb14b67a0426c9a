"""From request to answer: who may ask, what is refused, and how it is said."""

import pytest
from in_process import OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess, code_of

OPERATIONS = "/subscriptions/{}/providers/Microsoft.VirtualMachineImages/locations/local/operations/{}"


def an_operation(service: InProcess, subscription: str = SUBSCRIPTION) -> str:
    row = service.service.store.operations.begin(
        "test", subscription_id=subscription, location="local", resource_id=f"/subscriptions/{subscription}/x"
    )
    return OPERATIONS.format(subscription, row.operation_id)


def test_nothing_is_told_without_a_login(service: InProcess) -> None:
    for path in (an_operation(service), "/no/such/thing", "/"):
        response = service.get(path, token=None)
        assert response.status_code == 401
        assert code_of(response) == "AuthenticationFailed"


def test_an_operation_can_be_followed_to_its_end(service: InProcess) -> None:
    path = an_operation(service)
    response = service.get(path)
    assert response.status_code == 200
    assert response.json()["status"] == "InProgress"
    assert int(response.headers["Retry-After"]) >= 1
    service.service.store.operations.end(path.rsplit("/", 1)[-1], status="Failed", error={"code": "X", "message": "y"})
    ended = service.get(path).json()
    assert (ended["status"], ended["error"]) == ("Failed", {"code": "X", "message": "y"})


@pytest.mark.parametrize("spelled", ["{}", "//{}/", "UPPER"])
def test_paths_match_without_regard_to_case_and_doubled_slashes(service: InProcess, spelled: str) -> None:
    path = an_operation(service)
    written = path.upper() if spelled == "UPPER" else spelled.format(path)
    assert service.get(written).status_code == 200


def test_an_operation_of_another_subscription_is_not_found(service: InProcess) -> None:
    path = an_operation(service)
    assert service.get(path, token="stranger").status_code == 404
    moved = path.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION)
    assert service.get(moved, token="stranger").status_code == 404


def test_what_is_not_served_is_404_and_a_wrong_method_405(service: InProcess) -> None:
    assert service.get("/no/such/thing").status_code == 404
    response = service.request("DELETE", an_operation(service))
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET"


def test_an_api_version_is_asked_for(service: InProcess) -> None:
    response = service.get(an_operation(service), api_version=None)
    assert (response.status_code, code_of(response)) == (400, "MissingApiVersionParameter")
    response = service.get(an_operation(service), api_version="yesterday")
    assert (response.status_code, code_of(response)) == (400, "InvalidApiVersionParameter")


@pytest.mark.parametrize("path", ["/a%2fb", "/%00", "/%ff", "/..%5c", "/" + "x" * 300])
def test_paths_that_cannot_be_names_are_refused(service: InProcess, path: str) -> None:
    response = service.get(path)
    assert response.status_code in {400, 404}
    assert code_of(response)


def test_a_body_beyond_the_limit_is_refused(service: InProcess) -> None:
    response = service.request("GET", an_operation(service), content=b"x" * (4 * 1024**2 + 1))
    assert (response.status_code, code_of(response)) == (413, "RequestEntityTooLarge")
