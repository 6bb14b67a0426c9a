"""A placeholder that nobody filled in is named wherever it stands, all of them at once, and can be given a value."""

import json
from typing import Any

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.template.placeholder import placeholders_in
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

GALLERY = "/subscriptions/<subscriptionID>/resourceGroups/<rg name>/providers/Microsoft.Compute/galleries/g/images/d"
HOLDERS: dict[str, Any] = {
    "location": "<where>",
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {"<my-identity>": {}}},
    "properties": {
        "source": {
            "type": "PlatformImage",
            "publisher": "<pub>",
            "offer": "{{ offer }}",
            "sku": "#{sku}#",
            "version": "REPLACE_ME",
        },
        "customize": [
            {"type": "Shell", "name": "s", "scriptUri": "<URL of the script>"},
            {"type": "Shell", "inline": ["cat <file >out"]},
        ],
        "distribute": [
            {
                "type": "SharedImage",
                "runOutputName": "o",
                "galleryImageId": GALLERY,
                "replicationRegions": ["<spot one>", "YOUR_REGION"],
            }
        ],
    },
}
PLACES = {
    "location": ("`<where>`", "--parameters where=VALUE"),
    "identity.userAssignedIdentities['<my-identity>']": ("`<my-identity>`", "--parameters my-identity=VALUE"),
    "properties.source.publisher": ("`<pub>`", "--parameters pub=VALUE"),
    "properties.source.offer": ("`{{ offer }}`", "--parameters offer=VALUE"),
    "properties.source.sku": ("`#{sku}#`", "--parameters sku=VALUE"),
    "properties.source.version": ("`REPLACE_ME`", "--parameters REPLACE_ME=VALUE"),
    "properties.customize[0].scriptUri": ("`<URL of the script>`", "--parameters 'URL of the script=VALUE'"),
    "properties.distribute[0].galleryImageId": (
        "`<subscriptionID>`, `<rg name>`",
        "--parameters subscriptionID=VALUE --parameters 'rg name=VALUE'",
    ),
    "properties.distribute[0].replicationRegions[0]": ("`<spot one>`", "'spot one=VALUE'"),
    "properties.distribute[0].replicationRegions[1]": ("`YOUR_REGION`", "YOUR_REGION=VALUE"),
}
ISO = {
    "apiVersion": "2019-05-01-preview",
    "location": "westus2",
    "properties": {
        "vmProfile": {"osDiskSizeGB": "<DISKSIZE>"},
        "source": {"type": "ISO", "sourceURI": "https://example.com/x.iso", "sha256Checksum": "<CHECK>"},
        "distribute": [{"type": "VHD", "runOutputName": "o"}],
    },
}


def read(text: str, *parameters: str) -> ResolvedTemplate:
    return read_image_template(text, file_name="t.json", parameters=parameters)


def mistakes(text: str, *parameters: str) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        read(text, *parameters)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def test_every_placeholder_is_named_with_the_option_that_fills_it() -> None:
    found = mistakes(json.dumps(HOLDERS))
    assert found.keys() == PLACES.keys()
    for path, (written, option) in PLACES.items():
        assert written in found[path]
        assert option in found[path]


def test_every_placeholder_can_be_given_a_value() -> None:
    identity = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    given = {
        "where": "West US 2", "my-identity": identity, "pub": "Debian", "offer": "debian-12", "sku": "12",
        "REPLACE_ME": "latest", "URL of the script": "https://x.example/s", "subscriptionID": "s", "rg name": "g",
        "spot one": "westus2", "YOUR_REGION": "eastus",
    }  # fmt: skip
    found = read(json.dumps(HOLDERS), *(f"{name}={value}" for name, value in given.items())).image_template
    assert found.location == "westus2", "a known location is written as Azure writes it"
    assert found.identity is not None
    assert list(found.identity.user_assigned_identities) == [identity]
    assert found.properties.source.model_dump()["sku"] == "12"


@pytest.mark.parametrize("api_version", ["2019-05-01-preview", "2024-02-01"])
def test_numbers_and_checksums_are_filled_too(api_version: str) -> None:
    body = json.loads(json.dumps(ISO)) | {"apiVersion": api_version, "identity": {"type": "None"}}
    if api_version > "2020":
        body["properties"]["source"] = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "<CHECK>"}
    found = mistakes(json.dumps(body))
    assert "`<DISKSIZE>`" in found["properties.vmProfile.osDiskSizeGB"]
    assert all("`<CHECK>`" in text for path, text in found.items() if path != "properties.vmProfile.osDiskSizeGB")
    template = read(json.dumps(body), "DISKSIZE=64", f"CHECK={'a' * 64}").image_template
    assert template.properties.vm_profile.os_disk_size_gb == 64


@pytest.mark.parametrize("bare", ["<region>", "{{ region }}", "REPLACE_ME", "$(region)", "${region}", "__region__"])
def test_a_placeholder_outside_quotes_is_named_and_filled(bare: str) -> None:
    body = json.loads(json.dumps(HOLDERS))
    body["identity"] = {"type": "None"}
    body["location"] = "westus2"
    body["properties"]["source"] = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s"}
    body["properties"]["customize"] = []
    body["properties"]["vmProfile"] = {"osDiskSizeGB": 77}
    body["properties"]["distribute"][0]["galleryImageId"] = GALLERY.replace("<subscriptionID>", "s").replace(
        "<rg name>", "g"
    )
    body["properties"]["distribute"][0]["replicationRegions"] = ["REGION"]
    text = json.dumps(body).replace('"REGION"', bare).replace("77", "<size>")
    found = mistakes(text)
    assert found.keys() == {"properties.distribute[0].replicationRegions[0]", "properties.vmProfile.osDiskSizeGB"}
    name = "REPLACE_ME" if bare == "REPLACE_ME" else "region"
    template = read(text, f"{name}=westus2", "size=64").image_template
    assert template.properties.vm_profile.os_disk_size_gb == 64


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<a>-<b>", ["a", "b"]),
        ("a < b and c > d", []),
        ("x<1>", []),
        ("https://<account>.blob.core.windows.net/<file name>", ["account", "file name"]),
        ("{{x}}", ["x"]),
        ("${x}-$(y)", ["x", "y"]),
        ("$region", ["region"]),
        ("/subscriptions/$env:SUB/resourceGroups/$RG", ["SUB", "RG"]),
        ("https://a.blob.core.windows.net/$web/a.sh", []),
        ("a$region", []),
        ("#{region} and @{zone}", ["region", "zone"]),
        ("$[variables.region]", ["variables.region"]),
        ("${{ parameters.region }}", ["parameters.region"]),
        ("<<region>>", ["region"]),
        ("<%= region %>-{% zone %}", ["region", "zone"]),
        ("/s/%%SUB%%/##RG##/$RG$/$$G$$/~I~/!N!/((d))", ["SUB", "RG", "RG", "G", "I", "N", "d"]),
        ("/subscriptions/[sub-id]/resourceGroups/[my rg]/x", ["sub-id", "my rg"]),
        ("[a]", []),
        ("INSERT_REGION_HERE", ["INSERT_REGION_HERE"]),
        ("changeme", ["changeme"]),
        ("exchangement", []),
        ("/subscriptions/{sub}/resourceGroups/%RG%/x/#n#", ["sub", "RG", "n"]),
        ("https://h/a%20b%C3%A4/{not}x#part", []),
        ("__size__ and @@at@@", ["size", "at"]),
        ("https://h/__init__.py", []),
        ("{{ .Values.x }}", ["Values.x"]),
        ("PLEASE_REPLACE_MENU", []),
        ("CHANGEME", ["CHANGEME"]),
        ("your_name", []),
        ("YOUR-SUBSCRIPTION-ID", ["YOUR-SUBSCRIPTION-ID"]),
    ],
)
def test_what_is_a_placeholder(text: str, names: list[str]) -> None:
    assert [name for _, name in placeholders_in(text)] == names


def test_a_function_of_pulumi_is_told_as_one() -> None:
    body = json.loads(json.dumps(ISO))
    body["properties"]["customize"] = [{"type": "Shell", "inline": {"fn::split": [",", "a,b"]}}]
    given = ("DISKSIZE=64", f"CHECK={'a' * 64}")
    found = mistakes(json.dumps(body), *given)
    assert found.keys() == {"properties.customize[0].inline"}
    assert "a function of Pulumi, `fn::split`" in found["properties.customize[0].inline"]


def test_scripts_and_tags_may_hold_anything() -> None:
    body = json.loads(json.dumps(ISO)) | {"tags": {"note": "<b>bold</b> TODO"}}
    line = "cat <file> {{x}} ${DISKSIZE} $(CHECK) # TODO"
    body["properties"]["customize"] = [{"type": "Shell", "inline": [line]}]
    found = read(json.dumps(body), "DISKSIZE=64", f"CHECK={'a' * 64}").resolved["properties"]["customize"]
    assert found[0]["inline"] == [line], "what a shell means is not filled in"


@pytest.mark.parametrize(
    "form",
    [
        "#{{{}}}",
        "${{{{ {} }}}}",
        "<<{}>>",
        "$[{}]",
        "$env:{}",
        "${}",
        "$${}$$",
        "%%{}%%",
        "##{}##",
        "(({}))",
        "<%= {} %>",
    ],
)
def test_each_form_is_replaced_whole(form: str) -> None:
    body = {**ISO, "location": form.format("region")}
    given = ("DISKSIZE=64", f"CHECK={'a' * 64}")
    assert "--parameters region=VALUE" in mistakes(json.dumps(body), *given)["location"]
    assert read(json.dumps(body), *given, "region=westus2").image_template.location == "westus2"


@pytest.mark.parametrize("name", ["__NAME__", "${NAME}", "<NAME>"])
def test_a_placeholder_for_the_name_is_named(name: str) -> None:
    body = {**ISO, "name": name}
    given = ("DISKSIZE=64", f"CHECK={'a' * 64}")
    assert "still holds the placeholder" in mistakes(json.dumps(body), *given)["name"]
    assert read(json.dumps(body), *given, "NAME=web").name == "web"


@pytest.mark.parametrize(
    ("text", "lack"),
    [
        ("<name", "lacks its end `>`"),
        ("https://<account.blob.core.windows.net/c/a.sh", "lacks its end `>`"),
        ("https://h/{{ folder/a.sh", "lacks its end `}}`"),
        ("https://h/${folder/a.sh", "lacks its end `}`"),
        ("$(SCRIPT_URL", "lacks its end `)`"),
        ("script url>", "lacks its beginning `<`"),
        ("https://h/folder}}/a.sh", "lacks its beginning `{{`"),
    ],
)
def test_half_a_placeholder_is_told_as_one_and_is_no_file(text: str, lack: str) -> None:
    body = json.loads(json.dumps(ISO))
    body["properties"]["customize"] = [{"type": "Shell", "name": "a > b", "scriptUri": text}]
    given = ("DISKSIZE=64", f"CHECK={'a' * 64}")
    assert lack in mistakes(json.dumps(body), *given)["properties.customize[0].scriptUri"]
    body["properties"]["customize"] = [{"type": "Shell", "name": "build <it", "inline": [text]}]
    assert read(json.dumps(body), *given).image_template.properties.customize


@pytest.mark.parametrize(
    "place", ["[[region]]", "%(region)s", "@region", "&region;", "..region..", ":region", "wéstus2;"]
)
def test_what_cannot_be_a_location_is_refused_in_every_place(place: str) -> None:
    gallery = GALLERY.replace("<subscriptionID>", "s").replace("<rg name>", "g")
    shared = {"type": "SharedImage", "galleryImageId": gallery}
    targets = [
        {**shared, "runOutputName": "a", "replicationRegions": [place]},
        {**shared, "runOutputName": "b", "targetRegions": [{"name": place}]},
    ]
    body = {"location": place, "identity": {"type": "None"}, "properties": {**ISO["properties"], "distribute": targets}}
    body["properties"] |= {
        "vmProfile": {},
        "source": {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s"},
    }
    assert mistakes(json.dumps(body)).keys() == {
        "location",
        "properties.distribute[0].replicationRegions[0]",
        "properties.distribute[1].targetRegions[0].name",
    }


@pytest.mark.parametrize("place", ["West US 2", "rack-7", "home.lab", "Büro (Keller)", "local_1"])
def test_locations_of_ones_own_are_taken(place: str) -> None:
    given = ("DISKSIZE=64", f"CHECK={'a' * 64}")
    assert read(json.dumps({**ISO, "location": place}), *given).image_template.location
