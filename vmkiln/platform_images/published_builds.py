"""A publisher's dated builds: which there are, which version each is, and where one is fetched from.

The index only says what there is; what is fetched is checked against the checksum beside it, as ever.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from vmkiln.errors import ImageNotFound
from vmkiln.fetching.http_fetch import Patience, connected
from vmkiln.fetching.server_rule import FOR_THE_OPERATOR
from vmkiln.fetching.way_out import STRAIGHT, WayOut
from vmkiln.platform_images.catalogue_entry import DatedBuilds, DownloadEntry, name_of
from vmkiln.platform_images.catalogue_text import address
from vmkiln.platform_images.resumed_download import Download, Progress

MOST_NAMED = 10
BUILD = "{build}"
_NUMBERS = r"\d(?:[\d.\-]*\d)?"
_PLACE = re.compile(r"\{(\d)\}")


@dataclass(frozen=True)
class Build:
    """One build: its name in the publisher's addresses (`20260705.1`) and its version (`24.04.202607051`)."""

    name: str
    version: str


def builds_in(index: str, builds: DatedBuilds) -> list[Build]:
    """The builds that an index names, the newest first; pure.

    Looked for is the first part of an address that has a build in it, as it stands in a page's links or in a list.
    """
    folder = urljoin(builds.index_url, ".")
    before, _, after = builds.url.removeprefix(folder).partition(BUILD)
    first, slash, _ = after.partition("/")
    start = rf"(?<![\w.\-]){re.escape(before)}({_NUMBERS}){re.escape(first)}"
    # a folder ends with its slash, a file where no more letter of a name follows
    pattern = f"{start}/" if slash else rf"{start}(?![\w\-]|\.\w)"
    found = {name: Build(name, version_of(name, builds)) for name in re.findall(pattern, index)}
    return sorted(found.values(), key=lambda build: _numbers(build.name), reverse=True)


def version_of(build: str, builds: DatedBuilds) -> str:
    """The version of a build: its numbers put into their places, 0 for one that it lacks; pure."""
    numbers = [str(number) for number in _numbers(build)]
    return _PLACE.sub(lambda place: [*numbers, *"0" * 10][int(place[1])], builds.version)


def _numbers(build: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", build))


def may_be_version(version: str, builds: DatedBuilds) -> bool:
    """Whether a build could have this version; pure."""
    pattern = "".join(
        r"\d+" if _PLACE.fullmatch(piece) else re.escape(piece) for piece in re.split(r"(\{\d\})", builds.version)
    )
    return re.fullmatch(pattern, version) is not None


async def published_builds(
    entry: DownloadEntry, *, progress: Progress, patience: Patience, way_out: WayOut = STRAIGHT
) -> list[Build]:
    """The builds that an entry's publisher has now, the newest first. Raises: `DownloadFailed`."""
    if entry.builds is None:
        return []
    async with connected(way_out, FOR_THE_OPERATOR) as client:  # its address is of the catalogue
        content, _ = await Download(client, progress, patience).small_file(entry.builds.index_url)
    return builds_in(content.decode(errors="replace"), entry.builds)


def build_of(version: str, entry: DownloadEntry, builds: Sequence[Build], *, kept: Sequence[str]) -> Build:
    """The build of a version; pure. Raises: `ImageNotFound`, naming the versions that can be had."""
    found = next((build for build in builds if build.version == version), None)
    if found is None:
        raise no_such_version(version, name_of(entry), [build.version for build in builds], kept=kept)
    return found


def no_such_version(version: str, name: str, published: Sequence[str], *, kept: Sequence[str]) -> ImageNotFound:
    """The error of a version that cannot be had; tells those that can."""
    named = list(dict.fromkeys([*published, *kept]))
    listed = ", ".join(named[:MOST_NAMED]) or "none but `latest`"
    more = f" and {len(named) - MOST_NAMED} older ones" if len(named) > MOST_NAMED else ""
    return ImageNotFound(
        f"version {version} of {name} is neither in the cache nor among those that its publisher keeps",
        hint=f"use `latest`; versions that can be had: {listed}{more}",
    )


def at_build(entry: DownloadEntry, build: Build) -> DownloadEntry:
    """An entry whose addresses are those of one build; pure."""
    if entry.builds is None:
        return entry
    url = entry.builds.url.replace(BUILD, build.name)
    return replace(
        entry,
        url=url,
        checksum_url=address(url, entry.builds.checksum_url.replace(BUILD, build.name)),
        signature_url=address(url, entry.builds.signature_url.replace(BUILD, build.name))
        if entry.builds.signature_url
        else "",
    )
