"""The sockets that systemd listens on in an image: enabled socket units and their addresses, read from outside; pure.

A service that opens its own socket, such as sshd, is not among them: it says so in a form of its own, or nowhere.
Source: systemd.socket(5), systemd.unit(5) and systemd.syntax(7), of systemd 252.
"""

import re
from collections.abc import Iterator

from vmkiln.inspecting.disk_contents import LINK, DiskContents

# the folders of units, of which the first that has a unit counts
FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
MOST_UNITS = 1000
MOST_UNIT_BYTES = 64 * 1024  # of a unit's files together; those of systemd itself have less than 1 KiB
MOST_ADDRESSES = 100  # of a unit
TOO_LARGE = "not read: its files are too large"
_LISTENS = re.compile(
    r"Listen(Stream|Datagram|SequentialPacket|FIFO|Special|Netlink|MessageQueue|USBFunction)\s*=\s*(.*)"
)
_WANTED = re.compile(r"[^/]+\.(?:wants|requires|upholds)/([^/]+\.socket)")
_DROP_IN = re.compile(r"([^/]+\.socket)\.d/([^/]+\.conf)")


def listening_units(found: DiskContents) -> dict[str, str]:
    """The enabled socket units, with what they listen on: `{"cups.socket": "stream /run/cups.sock, stream 631"}`.

    A unit that is masked, or has no file that was read, is not there. Of one whose files are too large that is told.
    """
    units: dict[str, bytes] = {}
    links: dict[str, str] = {}  # other names of units; '' for one that is masked
    drop_ins: dict[str, dict[str, bytes]] = {}
    wanted: set[str] = set()
    for folder in FOLDERS:
        for path, entry in found.paths(folder):
            name = path.removeprefix(f"{folder}/")
            if entry.kind == LINK and (is_wanted := _WANTED.fullmatch(name)):
                wanted.add(is_wanted[1])
            elif entry.kind == LINK and name.endswith(".socket") and "/" not in name and name not in units:
                target = entry.target.decode(errors="replace").rpartition("/")[2]
                links.setdefault(name, target if target.endswith(".socket") else "")
        for name, content in _files(found, folder):
            if is_drop_in := _DROP_IN.fullmatch(name):
                drop_ins.setdefault(is_drop_in[1], {}).setdefault(is_drop_in[2], content)
            elif "/" not in name and name not in links:
                units.setdefault(name, content)
    told = {}
    for name in sorted(wanted)[:MOST_UNITS]:
        file = name if name in units or name in links else re.sub(r"@.*\.socket$", "@.socket", name)
        if own := units.get(links.get(file, file)):
            more = drop_ins.get(file, {}) | drop_ins.get(name, {})
            told[name] = _told([own, *(more[key] for key in sorted(more))])
    return told


def _files(found: DiskContents, folder: str) -> Iterator[tuple[str, bytes]]:
    """The socket units of a folder, and what adds to them, by their names in it."""
    for path, content in found.files():
        if path.startswith(f"{folder}/") and ".socket" in path:
            yield path.removeprefix(f"{folder}/"), content


def _told(files: list[bytes]) -> str:
    """A guest wrote them, so what is read of them has a bound."""
    if sum(map(len, files)) > MOST_UNIT_BYTES:
        return TOO_LARGE
    addresses = _addresses(files)
    more = len(addresses) - MOST_ADDRESSES
    return ", ".join([*addresses[:MOST_ADDRESSES], *([f"and {more} more"] if more > 0 else [])])


def _addresses(files: list[bytes]) -> list[str]:
    """What a unit listens on, by its file and what adds to it; an empty value takes back all that were before."""
    addresses: list[str] = []
    for content in files:
        text = re.sub(r"\\\n", " ", content.decode(errors="replace"))
        section = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line
            elif section == "[Socket]" and (assigned := _LISTENS.fullmatch(line)):
                kind, address = assigned[1].lower(), assigned[2].strip()
                if address:
                    addresses.append(f"{kind} {address}")
                else:
                    addresses.clear()
    return addresses
