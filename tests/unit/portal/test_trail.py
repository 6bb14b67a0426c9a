"""The trail of a page, and the part of the rail it belongs to."""

from vmkiln.portal.trail import Place, is_local, section_of, trail

GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/web"


def test_a_trail_leads_from_the_subscription_to_the_run() -> None:
    run = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/0123abcd-0000"
    assert trail(run) == [
        Place("Subscription 11111111", "/portal/groups"),
        Place("rg1", f"/portal{GROUP}"),
        Place("web", f"/portal{TEMPLATE}"),
        Place("Run 0123abcd", f"/portal{run}"),
    ]
    assert [place.text for place in trail(f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/d")][2:] == [
        "g",
        "d",
    ]


def test_what_a_command_made_has_a_trail_without_a_subscription() -> None:
    group = "/providers/Vmkiln.Builds/resourceGroups/IT_local_hello_1"
    assert trail(f"{group}/providers/Microsoft.Compute/virtualMachines/build-vm") == [
        Place("Groups", "/portal/groups"),
        Place("IT_local_hello_1", f"/portal{group}"),
        Place("build-vm", f"/portal{group}/providers/Microsoft.Compute/virtualMachines/build-vm"),
    ]
    assert section_of(group) == "groups"
    assert not is_local("/providers/Vmkiln.Builds/resourceGroups")


def test_a_gallery_without_a_page_is_named_and_no_link() -> None:
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
    version = f"{gallery}/images/web/versions/1.0.0"
    assert [place.address for place in trail(version)][2:4] == [f"/portal{gallery}", f"/portal{gallery}/images/web"]
    places = trail(version, has_gallery=False)
    assert [place.text for place in places] == ["Subscription 11111111", "rg1", "g", "web", "1.0.0"]
    assert [place.address for place in places] == ["/portal/groups", f"/portal{GROUP}", "", "", ""]


def test_what_is_no_id_has_no_trail() -> None:
    for text in ("", "/", "/new", "/subscriptions/1", "/subscriptions/1/providers/x", f"{GROUP}/providers/odd"):
        assert len(trail(text)) in {0, 2}


def test_a_resource_belongs_to_a_part_of_the_rail() -> None:
    assert section_of(TEMPLATE) == "templates"
    assert section_of(f"{GROUP}/providers/Microsoft.Compute/images/web") == "images"
    assert section_of(f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/d") == "images"
    assert section_of(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/build-vm") == "groups"
    assert (section_of(GROUP), section_of("")) == ("groups", "")
