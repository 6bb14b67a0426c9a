"""The Debian recipe: what mmdebstrap is asked for, what the hook is told, how an image is dated."""

import subprocess
import uuid
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.platform_images.debian_recipe import (
    DebianRecipe,
    bootstrap_arguments,
    environment_for,
    esp_id,
    fetch_arguments,
    newest_date,
    recipe_digest,
)

ROOT_UUID = uuid.UUID("0123abcd-0000-4000-8000-000000000000")


def arguments(recipe: DebianRecipe) -> list[str]:
    return bootstrap_arguments(recipe, script="#!/bin/sh\nset -eu\n", root=Path("/h/root"))


def included(recipe: DebianRecipe) -> set[str]:
    (packages,) = (item for item in arguments(recipe) if item.startswith("--include="))
    return set(packages.removeprefix("--include=").split(","))


def test_what_is_fetched_is_what_is_unpacked_later() -> None:
    recipe = DebianRecipe("bookworm", 1, ("vim",), ("https://mirror.example/debian",))
    fetched = fetch_arguments(recipe, script="x", root=Path("/h/fetching"))
    assert fetched[-3:] == ["bookworm", "/h/fetching", "https://mirror.example/debian"]
    assert "--setup-hook=x" in fetched
    told = environment_for(recipe, root_uuid=ROOT_UUID, folder=Path("/h"), path="/bin")
    assert set(told["VMKILN_PACKAGES"].split()) == included(recipe)
    assert "--skip=update" in arguments(recipe), "it has no network"


@pytest.mark.parametrize(
    ("generation", "has", "lacks"),
    [(1, "grub-pc-bin", "shim-signed"), (2, "shim-signed", "grub-pc-bin")],
)
def test_each_generation_has_its_own_boot_loader(generation: int, has: str, lacks: str) -> None:
    packages = included(DebianRecipe("bookworm", generation))
    assert has in packages
    assert lacks not in packages
    assert {"cloud-init", "openssh-server", "linux-image-cloud-amd64"} <= packages


def test_arm64_is_made_of_its_own_packages_where_its_programs_are_emulated() -> None:
    recipe = DebianRecipe("bookworm", 2, architecture=Architecture.ARM64)
    texts, packages = arguments(recipe), included(recipe)
    assert "--architectures=arm64" in texts
    assert "--skip=check/qemu" in texts, "the namespace that emulates is there already"
    assert {"linux-image-cloud-arm64", "grub-efi-arm64-bin", "grub-efi-arm64-signed", "shim-signed"} <= packages
    assert not any("amd64" in name for name in packages)
    environment = environment_for(recipe, root_uuid=ROOT_UUID, folder=Path("/h"), path="/bin")
    assert (environment["VMKILN_ARCHITECTURE"], environment["INITRD"]) == ("arm64", "No")
    assert recipe_digest(recipe) != recipe_digest(DebianRecipe("bookworm", 2))


def test_the_script_is_handed_over_as_text() -> None:
    assert "--customize-hook=#!/bin/sh\nset -eu\n" in arguments(DebianRecipe("bookworm", 1))


def test_packages_and_mirrors_of_an_entry_are_used() -> None:
    recipe = DebianRecipe("bookworm", 1, ("waagent",), ("https://mirror.example/debian",))
    assert "waagent" in included(recipe)
    assert arguments(recipe)[-3:] == ["bookworm", "/h/root", "https://mirror.example/debian"]


def test_scripts_of_packages_are_told_nothing_of_ours() -> None:
    environment = environment_for(DebianRecipe("bookworm", 2), root_uuid=ROOT_UUID, folder=Path("/h"), path="/bin")
    ours = {name: value for name, value in environment.items() if not name.startswith("VMKILN_")}
    assert ours == {"PATH": "/bin", "HOME": "/nonexistent", "TMPDIR": "/h", "LC_ALL": "C.UTF-8"}
    assert environment["VMKILN_GENERATION"] == "2"


def test_the_esp_is_named_as_the_system_will_see_it() -> None:
    assert esp_id(ROOT_UUID) == "0123-ABCD"


def test_an_image_is_as_new_as_the_newest_part_of_the_archive() -> None:
    text = (
        "Date: Sat, 21 Nov 2026 09:51:12 UTC\nDate: Sun, 22 Nov 2026 02:09:44 UTC\nDate: Fri, 1 May 2026 00:00:00 UTC\n"
    )
    assert newest_date(text) == datetime(2026, 11, 22, 2, 9, 44, tzinfo=UTC)


def test_an_archive_without_a_date_is_an_error() -> None:
    with pytest.raises(VmkilnError, match="no date"):
        newest_date("Origin: Debian\n")
    with pytest.raises(VmkilnError, match="a date that is none"):
        newest_date("Date: soon\n")


def test_another_recipe_is_another_image() -> None:
    recipes = [
        DebianRecipe("bookworm", 1),
        DebianRecipe("bookworm", 2),
        DebianRecipe("trixie", 1),
        DebianRecipe("bookworm", 1, ("vim",)),
        DebianRecipe("bookworm", 1, (), ("https://mirror.example/debian",)),
    ]
    assert len({recipe_digest(recipe) for recipe in recipes}) == len(recipes)
    assert recipe_digest(recipes[0]) == recipe_digest(DebianRecipe("bookworm", 1))


@pytest.mark.parametrize("name", ["debian_customize.sh", "debian_fetch.sh"])
def test_the_script_inside_is_clean(name: str) -> None:
    with resources.as_file(resources.files("vmkiln.platform_images").joinpath(name)) as script:
        checked = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("is_readable", [True, False])
def test_apt_trusts_the_authorities_of_the_network_too_while_it_fetches(is_readable: bool, tmp_path: Path) -> None:
    """As apt itself reads what it is told; nothing of it is left beside what was fetched."""
    programs, root, bundle = tmp_path / "programs", tmp_path / "root", tmp_path / "corp-ca.pem"
    for folder in (programs, root / "tmp", root / "var/lib/apt/lists", root / "var/cache/apt/archives"):
        folder.mkdir(parents=True)
    (root / "var/cache/apt/archives/a.deb").touch()
    (tmp_path / "apt.conf").write_text('APT::Architecture "amd64";\n')
    if is_readable:
        bundle.write_text("of the network\n")
    asked = 'cat "$(apt-config shell FILE Acquire::https::CaInfo | cut -d"\'" -f2)" < /dev/null; '
    asked += "apt-config shell NAME APT::Architecture"
    (programs / "apt-get").write_text(f"#!/bin/sh\n{asked}\n")
    (programs / "apt-get").chmod(0o755)
    script = resources.files("vmkiln.platform_images").joinpath("debian_fetch.sh").read_text()
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "MMDEBSTRAP_APT_CONFIG": str(tmp_path / "apt.conf"),
        "NODE_EXTRA_CA_CERTS": str(bundle),
        "VMKILN_FETCHED": str(tmp_path / "fetched"),
        "VMKILN_SUITE": "bookworm",
        "VMKILN_ARCHITECTURE": "amd64",
        "VMKILN_PACKAGES": "vim",
    }
    words = ["sh", "-c", script, "setup", str(root)]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert ("of the network" in told) == is_readable
    assert "NAME='amd64'" in told, "what mmdebstrap tells apt holds"
    assert sorted(path.name for path in tmp_path.glob("fetched*")) == ["fetched"]
