"""Failures that are known by what they print, or by a run's error code: the likely cause, and what helps; pure.

Source: docs/reference/behaviour.md#logs, the troubleshooting guide of Azure VM Image Builder, and what package
managers, shells and ssh print.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmkiln.run_failures import (
    AllowanceSpent,
    DistributionFailed,
    EgressLost,
    GeneralizationIncomplete,
    GuestPanicked,
    LoginTimedOut,
    NamespaceLost,
    QuotaExceeded,
    RightsLost,
    RunTimedOut,
    VirtualMachineLost,
)

MOST_LINE_LETTERS = 2000  # of a line that is looked at


@dataclass(frozen=True)
class Cause:
    """What is likely to have happened, and what helps."""

    what: str
    remedy: str


@dataclass(frozen=True)
class KnownFailure:
    """What a line of the log looks like, and its cause, whose text may name the pattern's groups."""

    pattern: re.Pattern[str]
    what: str
    remedy: str

    def in_line(self, line: str) -> Cause | None:
        """The cause, when this line tells of it; pure."""
        found = self.pattern.search(line[:MOST_LINE_LETTERS])
        if found is None:
            return None
        return Cause(self.what.format_map(found.groupdict()), self.remedy.format_map(found.groupdict()))


def _known(pattern: str, what: str, remedy: str) -> KnownFailure:
    return KnownFailure(re.compile(pattern, re.IGNORECASE), what, remedy)


LINES: Sequence[KnownFailure] = (  # what says more stands before what says less
    _known(
        r"\bthe egress policy refuses (?P<place>\S+)",
        "The egress policy of the run refuses {place}.",
        "Allow it in the egress policy, or take the file from a source that is allowed.",
    ),
    _known(
        r"E: Unable to locate package (?P<name>\S+)",
        "There is no package `{name}` in the package lists of the VM.",
        "Check its spelling, and run `apt-get update` before `apt-get install`.",
    ),
    _known(
        r"E: Package '[^']+' has no installation candidate|No package \S+ available|No match for argument",
        "A package that is to be installed is in none of the VM's repositories.",
        "Check its name, and add the repository that has it in an earlier step.",
    ),
    _known(
        r"E: Version '(?P<version>[^']+)' for '(?P<name>[^']+)' was not found",
        "The package `{name}` is not there in version {version} any more.",
        "Ask for a version that the repository has, or for none.",
    ),
    _known(
        r"Could not get lock /var/lib/(?:dpkg|apt)|Unable to acquire the dpkg frontend lock|waiting for cache lock",
        "Another program was installing packages at the same time, mostly automatic upgrades after boot.",
        "Wait for them in a step of its own: `cloud-init status --wait`, or `apt-get -o DPkg::Lock::Timeout=300`.",
    ),
    _known(
        r"dpkg was interrupted",
        "An earlier installation of packages was cut off.",
        "Run `dpkg --configure -a` before it.",
    ),
    _known(
        r"NO_PUBKEY (?P<key>[0-9A-F]+)|repository .* is not signed|GPG check FAILED|public key is not installed",
        "A package repository is signed with a key that the VM does not trust.",
        "Install the repository's key in an earlier step.",
    ),
    _known(
        r"Hash Sum mismatch|File has unexpected size",
        "A mirror was being updated, or a proxy gave an old file.",
        "Run it again; when it stays so, use another mirror.",
    ),
    _known(
        r"No space left on device|not enough free space|ENOSPC",
        "The disk of the VM is full.",
        "Set a larger `vmProfile.osDiskSizeGB`, or delete what is not needed in an earlier step.",
    ),
    _known(
        r"Out of memory: Killed process|oom-kill|Cannot allocate memory|JavaScript heap out of memory|^Killed$",
        "The VM had not enough memory.",
        "Choose a larger `vmProfile.vmSize`.",
    ),
    _known(
        r"\$'\\r': command not found|bad interpreter: .*\^M|\\r: No such file|unexpected token `\$'.*\\r",
        "The script has the line ends of Windows.",
        "Save it with line ends of Unix (`dos2unix`).",
    ),
    _known(
        r"Temporary failure (?:in name resolution|resolving)|Could not resolve host|getaddrinfo",
        "A name could not be resolved.",
        "Check its spelling, and whether the egress policy allows it; `vmkiln run flows` has every question.",
    ),
    _known(
        r"(?:Connection refused|Connection timed out|Network is unreachable|No route to host|Packet filtered|"
        r"Failed to connect to)",
        "A server could not be reached.",
        "Private, link-local and the host's own addresses are refused, and the egress policy may refuse more; "
        "`vmkiln run flows` shows what was tried.",
    ),
    _known(
        r"certificate verify failed|SSL certificate problem|x509: certificate|self[- ]signed certificate",
        "The certificate of a server is not trusted by the VM.",
        "Install the authority's certificate in an earlier step, and check the VM's time.",
    ),
    _known(
        r"\b(?:HTTP|status|error|returned)\D{0,30}(?:40[1347]|410|429|5\d\d)\b|40[34] +(?:Not Found|Forbidden)",
        "A server answered with an error.",
        "Check the address, and what it needs to log in.",
    ),
    _known(
        r"Downloading external file .* failed",
        "A file that the template names could not be downloaded.",
        "Check its address, and that it can be reached without a login.",
    ),
    _known(
        r"(?:^|[:\s])(?P<name>[\w./+-]+): (?:command )?not found",
        "There is no program `{name}` in the VM.",
        "Install it in an earlier step, or call it by its whole path.",
    ),
    _known(
        r"No such file or directory",
        "A file or folder is not there.",
        "Check the path, and that an earlier step makes it; each step begins in the home folder of its user.",
    ),
    _known(
        r"Permission denied|Operation not permitted|are you root\?|must be (?:run as )?root",
        "A step may not do what it tries.",
        "Use `sudo` for what only root may do: scripts run as an ordinary user.",
    ),
    _known(
        r"A system shutdown has already been scheduled|Timeout waiting for machine to restart",
        "The VM was restarting while another step began.",
        "Raise `restartTimeout`.",
    ),
    _known(
        r"IMAGE_STATE_UNDEPLOYABLE",
        "Sysprep did not come to its end.",
        "Choose a larger `vmProfile.vmSize`, and wait a minute before the last step.",
    ),
    _known(
        r"Cancelling builder after context cancellation|2300218|unexpected EOF|Error (?:uploading|processing) .*ssh|"
        r"Script disconnected unexpectedly",
        "The connection to the VM was lost: it restarted, its firewall was closed, or it ran out of memory.",
        "Leave port 22 open and ssh running; declare a restart with `expect_disconnect` or a step of its own.",
    ),
    _known(
        r"context deadline exceeded",
        "The time of the build was over.",
        "Raise `buildTimeoutInMinutes`, or make the slowest step faster.",
    ),
    _known(
        r"ModuleNotFoundError: No module named '(?P<name>[^']+)'",
        "Python has no module `{name}`.",
        "Install it in an earlier step.",
    ),
    _known(
        r"syntax error|unexpected end of file|unbound variable",
        "The script has a mistake.",
        "Try it with `bash -n`; scripts run with `/bin/sh` unless their first line says otherwise.",
    ),
)

STATUSES: Mapping[int, Cause] = {
    126: Cause("A file could not be run: it is no program, or not executable.", "Make it executable with `chmod +x`."),
    127: Cause("A program that the step calls is not in the VM.", "Install it in an earlier step."),
    137: Cause("A program was killed, mostly for want of memory.", "Choose a larger `vmProfile.vmSize`."),
}

CODES: Mapping[str, Cause] = {
    LoginTimedOut.code: Cause(
        "The VM did not come up, or nothing answered at its port of ssh.",
        "The end of its console is in the log; check that the source image has cloud-init and an ssh server.",
    ),
    VirtualMachineLost.code: Cause(
        "The VM ended while it was needed: a step shut it down, or it crashed.",
        "Leave the shutdown to the builder; the end of its console is in the log.",
    ),
    GuestPanicked.code: Cause(
        "The kernel of the VM panicked.", "The end of its console is in the log; check kernels and drivers installed."
    ),
    RunTimedOut.code: Cause(
        "The time of the build was over.", "Raise `buildTimeoutInMinutes`, or make the slowest step faster."
    ),
    AllowanceSpent.code: Cause(
        "The build wrote more to its disk than a run may.", "Delete what is not needed, or ask the host's operator."
    ),
    EgressLost.code: Cause("The way to the Internet ended on the host.", "Run it again; the host's log says why."),
    NamespaceLost.code: Cause("The host ended the run's processes.", "Run it again; the host's log says why."),
    QuotaExceeded.code: Cause("The subscription has as much as it may have.", "Delete what is not needed any more."),
    RightsLost.code: Cause(
        "The template's identity may not use what the template names.", "Give it a role there, and run it again."
    ),
    GeneralizationIncomplete.code: Cause(
        "Something of the build, or of its VM, is left in the image.",
        "Remove it in a last step, or allow it by name with the tag `vmkiln-residues`.",
    ),
    DistributionFailed.code: Cause(
        "A target could not be written.", "The message names it; the other targets are not touched."
    ),
}


def cause_in_line(line: str) -> Cause | None:
    """What a line of a log tells of, when that is known; pure."""
    return next((cause for known in LINES if (cause := known.in_line(line))), None)


def cause_of(lines: Sequence[str], *, code: str, status: int | None) -> tuple[Cause | None, int | None]:
    """The likely cause of a failure, and which of the log's last lines tells of it; the last one that does. Pure."""
    for number in range(len(lines) - 1, -1, -1):
        if cause := cause_in_line(lines[number]):
            return cause, number
    return (CODES.get(code) or STATUSES.get(status or 0)), None
