"""Microsoft.Features: the first command of older tutorials, and of Microsoft's GitHub Action."""

from in_process import SUBSCRIPTION, InProcess, code_of

HERE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Features"
PREVIEW = f"{HERE}/providers/Microsoft.VirtualMachineImages/features/VirtualMachineTemplatePreview"
OTHER = f"{HERE}/providers/Microsoft.Compute/features/SomePreview"


def state_of(service: InProcess, path: str) -> str:
    found = service.get(path, api_version="2021-07-01")
    assert found.status_code == 200, found.text
    return str(found.json()["properties"]["state"])


def test_image_builders_features_are_registered_from_the_start(service: InProcess) -> None:
    assert state_of(service, PREVIEW) == "Registered"
    assert state_of(service, PREVIEW.lower()) == "Registered"
    again = service.request("POST", f"{PREVIEW}/register", api_version="2021-07-01")
    assert (again.status_code, again.json()["properties"]["state"]) == (200, "Registered")
    assert again.json()["name"] == "Microsoft.VirtualMachineImages/VirtualMachineTemplatePreview"
    refused = service.request("POST", f"{PREVIEW}/unregister", api_version="2021-07-01")
    assert refused.status_code == 409


def test_a_mistyped_feature_of_image_builder_is_not_found(service: InProcess) -> None:
    typo = service.get(f"{PREVIEW}s", api_version="2021-07-01")
    assert (typo.status_code, code_of(typo)) == (404, "FeatureNotFound")
    assert "VirtualMachineTemplatePreview" in typo.json()["error"]["message"]
    for wrong in ("Micro soft", "Microsoft", "-.-"):
        refused = service.get(f"{HERE}/providers/{wrong}/features/x", api_version="2021-07-01")
        assert refused.status_code == 400, wrong


def test_features_of_others_are_kept_as_they_were_put(service: InProcess) -> None:
    assert state_of(service, OTHER) == "NotRegistered"
    assert service.request("POST", f"{OTHER}/register", token="reader").status_code == 403
    assert service.request("POST", f"{OTHER}/register").status_code == 200
    assert state_of(service, OTHER) == "Registered"
    listed = service.get(f"{HERE}/features").json()["value"]
    assert "Microsoft.Compute/SomePreview" in {item["name"] for item in listed}
    only = service.get(f"{HERE}/providers/Microsoft.Compute/features").json()["value"]
    assert [item["name"] for item in only] == ["Microsoft.Compute/SomePreview"]
    assert service.request("POST", f"{OTHER}/unregister").status_code == 200
    assert state_of(service, OTHER) == "Unregistered"


def test_the_newer_interface_of_features_tells_the_same(service: InProcess) -> None:
    place = f"{HERE}/featureProviders/Microsoft.Compute/subscriptionFeatureRegistrations"
    assert service.get(f"{place}/SomePreview").status_code == 404
    made = service.put(f"{place}/SomePreview", {})
    assert (made.status_code, made.json()["properties"]["state"]) == (200, "Registered")
    assert state_of(service, OTHER) == "Registered"
    assert [item["name"] for item in service.get(place).json()["value"]] == ["SomePreview"]
    assert service.request("DELETE", f"{place}/SomePreview").status_code == 200
    assert service.get(place).json()["value"] == []
    assert service.get(f"{HERE}/providers/Microsoft.Compute/features").json()["value"] == [], "it takes no place"
    assert service.request("DELETE", f"{place}/SomePreview").status_code == 200
    ours = f"{HERE}/featureProviders/Microsoft.VirtualMachineImages/subscriptionFeatureRegistrations"
    assert service.request("DELETE", f"{ours}/Triggers").status_code == 409


def test_what_registers_a_feature_is_audited_in_azures_words(service: InProcess) -> None:
    service.request("POST", f"{OTHER}/register", token="reader")
    message = service.request("POST", f"{OTHER}/register", token="reader").json()["error"]["message"]
    assert "'Microsoft.Features/providers/features/register/action'" in message


def test_the_cloud_is_told_in_the_form_of_each_generation(service: InProcess) -> None:
    def asked(version: str) -> object:
        return service.get(f"/metadata/endpoints?api-version={version}", token=None, api_version=None).json()

    for oldest in ("1.0", "2015-01-01"):
        found = asked(oldest)
        assert isinstance(found, dict)
        members = {"galleryEndpoint", "graphEndpoint", "portalEndpoint", "graphAudience", "authentication"}
        assert set(found) == members
        assert set(found["authentication"]) == {"loginEndpoint", "audiences"}
    for middle in ("2018-05-01", "2019-05-01", "2020-06-01"):
        found = asked(middle)
        assert isinstance(found, list)
        assert found[0]["suffixes"]["storage"] == "localhost"
    for newest in ("2022-09-01", "2023-11-01"):
        assert isinstance(asked(newest), dict)
    plain = service.get("/metadata/endpoints", token=None, api_version=None).json()
    assert plain["resourceManager"]
    assert service.get(f"{HERE}/features", api_version="1.0").status_code == 400
