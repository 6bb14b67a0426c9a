"""What is in an image is kept, compared, and told as a bill of materials; nothing of it can act on a terminal."""

import json
from datetime import UTC, datetime

from vmkiln.image_contents.bill_of_materials import bill_of_materials
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.image_contents.difference import difference
from vmkiln.image_contents.dpkg_status import Package

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
CONTENTS = ImageContents(
    {"id": "debian", "version": "12"},
    (Package("bash", "amd64", "5.2-1", "bash"), Package("libc6", "amd64", "2.36"), Package("libc6", "i386", "2.36")),
    {"root": 0},
    ("ssh.service",),
    ({"serial": "os", "size": 2**31, "table": "gpt"},),
    ({"device": "os1", "fileSystem": "ext4", "size": 2**30, "used": 5},),
    listening={"ssh.socket": "stream 22"},
    boot_seconds=61.25,
)


def test_each_difference_is_told_once_and_by_its_kind() -> None:
    packages = (Package("bash", "amd64", "5.3-1"), Package("libc6", "amd64", "2.36"), Package("new", "all", "1"))
    other = ImageContents(
        {"id": "debian", "version": "13"},
        packages,
        {"root": 0, "web": 1000},
        (),
        ({"serial": "os", "size": 2**32, "table": "gpt"},),
        CONTENTS.volumes,
        ("packages: x",),
        listening={"ssh.socket": "stream 2222", "web.socket": "stream 80"},
        boot_seconds=8.0,
    )
    told = difference(CONTENTS, other)
    assert told.changed == {
        "system": {"version": ("12", "13")},
        "packages": {"bash:amd64": ("5.2-1", "5.3-1")},
        "listening": {"ssh.socket": ("stream 22", "stream 2222")},
        "disks": {"os": ("2048 MiB, gpt", "4096 MiB, gpt")},
    }
    assert told.added == {
        "packages": {"new:all": "1"}, "users": {"web": 1000}, "listening": {"web.socket": "stream 80"},
    }  # fmt: skip
    assert told.removed == {"packages": {"libc6:i386": "2.36"}, "units": {"ssh.service": ""}}
    assert told.sentence == (
        "1 listening added, 1 package added, 1 user added, 1 package removed, 1 unit removed, "
        "1 disk changed, 1 listening changed, 1 package changed, 1 system changed"
    )
    lines = list(told.lines())
    assert {"  ~ bash:amd64: 5.2-1 -> 5.3-1", "  - ssh.service", "  + web 1000", "not known: packages: x"} <= set(lines)
    assert "boot: 61.2 s -> 8.0 s" in lines
    back = difference(other, CONTENTS)
    assert (back.added, back.removed) == (told.removed, told.added)
    same = difference(CONTENTS, CONTENTS)
    assert (same.is_empty, same.sentence) == (True, "nothing differs")
    assert list(same.lines()) == ["boot: 61.2 s -> 61.2 s"], "which is told, and is no difference"


def test_what_an_older_release_did_not_look_at_is_no_difference() -> None:
    kept = json.loads(CONTENTS.text)
    del kept["listening"], kept["boot_seconds"]
    told = difference(read_contents(json.dumps(kept)), CONTENTS)
    assert told.is_empty
    assert list(told.lines()) == [
        "boot: not known -> 61.2 s",
        "not known: listening: an image was published before sockets were looked at",
    ]


def test_the_bill_of_an_image_names_each_package_and_is_the_same_again() -> None:
    bill = bill_of_materials(CONTENTS, name="web", digest="a" * 64, created=NOW)
    assert bill == bill_of_materials(CONTENTS, name="web", digest="a" * 64, created=NOW)
    told = json.loads(bill)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert [component["purl"] for component in told["components"]] == [
        "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12&upstream=bash",
        "pkg:deb/debian/libc6@2.36?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36?arch=i386&distro=debian-12",
    ]
    assert len({component["bom-ref"] for component in told["components"]}) == 3


def test_packages_of_rpm_have_an_epoch_of_their_own_in_a_bill() -> None:
    contents = ImageContents({"id": "rocky", "version": "9"}, (Package("a", "noarch", "2:1-3"),), packaging="rpm")
    told = json.loads(bill_of_materials(contents, name="web", digest="a" * 64, created=NOW))
    assert [component["purl"] for component in told["components"]] == [
        "pkg:rpm/rocky/a@1-3?arch=noarch&distro=rocky-9&epoch=2"
    ]


def test_a_bill_tells_what_could_not_be_read() -> None:
    contents = ImageContents(unproven=("packages: rpm's, which are not read",))
    told = json.loads(bill_of_materials(contents, name="web", digest="a" * 64, created=NOW))
    assert told["metadata"]["component"]["properties"] == [
        {"name": "vmkiln:unproven", "value": "packages: rpm's, which are not read"}
    ]
    assert "components" not in told or told["components"] == []
