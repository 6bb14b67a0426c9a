"""What a build or its VM left on a disk, found by looking at what lies on it; and what else may be secret there; pure.

The first fails a run (`residue.py`), for an image must belong to nobody. The second is told: the source or a customizer
put it there, and it may be meant.
"""

import re
from collections.abc import Iterator

from vmkiln.inspecting.disk_contents import FILE, LINK, DiskContents, Entry
from vmkiln.inspecting.places import Places
from vmkiln.inspecting.residue import Found, Residue

MOST_TOLD = 30
_ID = r"[0-9a-f]{32}"
# by the whole path in the tree; of a file that is only emptied nothing is left
_PATHS = (
    (Residue.BUILD_USER, r"(home|var/mail|var/spool/mail|var/spool/cron|var/spool/cron/crontabs)/{user}"),
    (Residue.BUILD_USER, r"var/lib/systemd/linger/{user}"),
    (Residue.SUDO_RIGHTS, r"etc/sudoers\.d/90-(cloud-init-users|vmkiln-way-out)"),
    (Residue.HOST_KEYS, r"etc/ssh/ssh_host_[a-z0-9]+_key(\.pub)?"),
    (Residue.MACHINE_ID, rf"(var/log|run/log)/journal/{_ID}(/.*)?"),
    (Residue.MACHINE_ID, r"var/lib/NetworkManager/secret_key"),  # ids and addresses are made of it
    (Residue.CLOUD_INIT, r"var/lib/cloud/(instance|instances/.+|seed/nocloud.*|data/.+)"),
    (Residue.CLOUD_INIT, r"var/log/cloud-init(-output)?\.log(\..+)?"),
    (Residue.CLOUD_INIT, r"etc/netplan/50-cloud-init\.yaml|etc/systemd/network/10-cloud-init-.+\.network"),
    (Residue.CLOUD_INIT, r"etc/network/interfaces\.d/50-cloud-init(\.cfg)?"),
    (Residue.CLOUD_INIT, r"etc/NetworkManager/system-connections/cloud-init-.+\.nmconnection"),
    (Residue.RANDOM_SEED, r"var/lib/(systemd/random-seed|systemd/credential\.secret|urandom/random-seed)"),
    (Residue.RANDOM_SEED, r"((boot|efi|boot/efi)/)?loader/random-seed"),  # systemd-boot's, in the EFI partition
    (Residue.HISTORY, r"root/\.(bash_history|ash_history|zsh_history|wget-hsts|lesshst|viminfo)"),
    (Residue.LEASES, r"var/lib/(dhcp|dhclient|dhcpcd|NetworkManager)/.+\.leases?"),
    (Residue.LEASES, r"var/lib/(wicked/(lease-.+|duid)\.xml|dhcpcd/(duid|secret))"),
    (Residue.PACKER_FILES, r"(var/)?tmp/(script_[0-9]+\.sh|packer-.+|DeprovisioningScript\.sh)"),
    (Residue.PACKER_FILES, r"etc/systemd/system/(local-fs\.target\.wants/)?run-packer\.mount"),
)
_PASSWORDS = {"empty": "no password", "set": "a password", "known": "a password that everybody tries"}
# what is told of a file for its name, whatever it holds; root's own histories are a residue
_HOME = r"(?:root|home/[^/]+|var/lib/[^/]+)/(?:.*/)?"
_TOLD_BY_NAME = (
    (rf"{_HOME}(?:\.\w+_history|fish_history|\.lesshst|\.viminfo)", "is a history of what somebody typed"),
    (
        rf"{_HOME}(?:\.pgpass|\.my\.cnf|\.mylogin\.cnf|\.git-credentials|\.s3cfg|\.boto)",
        "looks like a password of a tool",
    ),
    (r".*\.(?:p12|pfx|jks|keystore|kdbx)", "looks like a store of keys"),
)


def residues(contents: DiskContents, *, user: str, host_name: str, key_comment: str) -> tuple[Found, ...]:
    """What the build left, by kind and place. `user` is the build's own; `key_comment` is that of its login key."""
    patterns = [(kind, pattern.replace("{user}", re.escape(user))) for kind, pattern in _PATHS]
    is_any = re.compile("|".join(pattern for _, pattern in patterns))
    kinds = [(kind, re.compile(pattern)) for kind, pattern in patterns]
    places = Places(contents)
    found = set(_in_files(contents, places, user, host_name, key_comment))
    for path, entry in contents.paths():
        if _is_nothing(entry):
            continue
        for name in filter(is_any.fullmatch, places.of(path)):
            found |= {Found(kind, f"/{path}") for kind, pattern in kinds if pattern.fullmatch(name)}
    return tuple(sorted(found, key=lambda one: (list(Residue).index(one.residue), one.place)))


def _is_nothing(entry: Entry) -> bool:
    return (entry.kind == FILE and not entry.size_bytes) or (entry.kind == LINK and entry.target == b"/dev/null")


def _in_files(contents: DiskContents, places: Places, user: str, host_name: str, key_comment: str) -> Iterator[Found]:
    for path, content in contents.files():
        names = places.of(path)
        text = content.decode(errors="replace")
        lines = text.splitlines()
        if "etc/passwd" in names and any(line.startswith(f"{user}:") for line in lines):
            yield Found(Residue.BUILD_USER, f"/{path}")
        is_sudoers = any(name.startswith("etc/sudoers") for name in names)
        if is_sudoers and any(re.match(rf"{re.escape(user)}[\s=]", line) for line in lines):
            yield Found(Residue.SUDO_RIGHTS, f"/{path}")
        if "/.ssh/authorized_keys" in path and any(line.rstrip().endswith(f" {key_comment}") for line in lines):
            yield Found(Residue.LOGIN_KEY, f"/{path}")
        if names & {"etc/machine-id", "var/lib/dbus/machine-id"} and text.strip() not in {"", "uninitialized"}:
            yield Found(Residue.MACHINE_ID, f"/{path}")
        if names & {"etc/hostname", "etc/hosts"} and host_name in text.split():
            yield Found(Residue.CLOUD_INIT, f"/{path}")


def told(contents: DiskContents) -> tuple[str, ...]:
    """What else looks like a secret, a sentence each: keys, tokens, histories, passwords; at most `MOST_TOLD`.

    Not the key that a package makes for its examples (`ssl-cert-snakeoil`), nor what `residues` finds.
    """
    found = [
        f"/{path} looks like {'an' if what[:1] in 'aeiou' else 'a'} {what}"
        for path, what in contents.marks()
        if "snakeoil" not in path and "etc/ssh/ssh_host_" not in path
    ]
    found += _told_by_name(contents)
    found += [
        f"/{path} lets whoever has its keys log in"
        for path, content in contents.files()
        if "/.ssh/authorized_keys" in path and b"ssh-" in content
    ]
    found += _told_passwords(contents)
    found = sorted(set(found))
    more = len(found) - MOST_TOLD
    return (*found[:MOST_TOLD], *([f"and {more} more"] if more > 0 else []))


def _told_passwords(contents: DiskContents) -> Iterator[str]:
    """What the inspection VM says of passwords in place of their hashes; `passwd` has `x` where `shadow` has them."""
    for path in ("etc/shadow", "etc/passwd"):
        for line in (contents.content(path) or b"").decode(errors="replace").splitlines():
            name, state, *_ = [*line.split(":", 2), ""]
            if what := _PASSWORDS.get(state):
                yield f"the account {name} has {what}"


def _told_by_name(contents: DiskContents) -> Iterator[str]:
    patterns = [(re.compile(pattern), what) for pattern, what in _TOLD_BY_NAME]
    refused = [re.compile(pattern) for kind, pattern in _PATHS if kind is Residue.HISTORY]
    for path, entry in contents.paths():
        if entry.kind != FILE or not entry.size_bytes or any(pattern.fullmatch(path) for pattern in refused):
            continue
        yield from (f"/{path} {what}" for pattern, what in patterns if pattern.fullmatch(path))
