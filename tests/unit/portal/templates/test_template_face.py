"""What a template's page tells of its steps, targets and limits."""

from vmkiln.portal.templates.template_face import Part, checks_of, copied, limits_of, no_trigger, steps_of, targets_of

TEMPLATE = {
    "id": "/x",
    "location": "westus2",
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/a/mine": {"principalId": "p"}}},
    "properties": {
        "provisioningState": "Succeeded",
        "customize": [
            {"type": "Shell", "name": "packages", "inline": ["apt-get update", "apt-get install -y nginx", "true"]},
            {"type": "Shell", "scriptUri": "https://example.org/a.sh?sig=secret"},
            {"type": "File", "sourceUri": "./motd", "destination": "/etc/motd"},
            {"type": "WindowsRestart", "restartCommand": "shutdown /r"},
        ],
        "validate": {"inVMValidations": [{"type": "Shell", "name": "answers", "inline": ["true"]}]},
        "distribute": [
            {
                "type": "SharedImage",
                "runOutputName": "out",
                "galleryImageId": "/g/d",
                "targetRegions": [{"name": "eu"}],
            },
            {"type": "VHD", "runOutputName": "disk"},
        ],
        "buildTimeoutInMinutes": 1,
    },
}


def test_steps_checks_and_targets_are_told_in_words() -> None:
    properties = TEMPLATE["properties"]
    assert isinstance(properties, dict)
    assert [step.what for step in steps_of(properties)] == [
        "apt-get update (and 2 more lines)",
        "https://example.org/a.sh",
        "./motd to /etc/motd",
        "shutdown /r",
    ]
    assert checks_of(properties) == [Part("answers", "Shell", "true")]
    assert targets_of(properties) == [Part("out", "SharedImage", "/g/d (eu)"), Part("disk", "VHD", "")]
    assert limits_of(TEMPLATE) == [("Longest run", "1 minute"), ("Identities", "mine")]


def test_a_copy_has_nothing_that_only_the_service_sets() -> None:
    found = copied(TEMPLATE)
    assert found.keys() == {"location", "identity", "properties"}
    assert found["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {"/a/mine": {}}}
    assert "provisioningState" not in found["properties"]


def test_a_trigger_needs_a_source_that_has_newer_versions() -> None:
    latest = {"type": "SharedImageVersion", "imageVersionId": "/g/images/i/versions/LATEST"}
    assert no_trigger({"source": latest}) == ""
    assert no_trigger({"source": {"type": "PlatformImage", "version": "Latest"}}) == ""
    assert "`latest`" in no_trigger({"source": {**latest, "imageVersionId": "/g/images/i/versions/1.0.0"}})
    assert "ManagedImage" in no_trigger({"source": {"type": "ManagedImage", "imageId": "/i"}})
    assert no_trigger({})
