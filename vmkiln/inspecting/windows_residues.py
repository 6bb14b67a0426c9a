"""What a VM tells of what a build has left in a Windows image, what else is to be told, what cannot be read; pure.

The lines come from a VM that has read the image and may have been taken over by it: each is bounded and known by name.
"""

from dataclasses import dataclass

from vmkiln.harmless_text import harmless
from vmkiln.inspecting.residue import Found, Residue
from vmkiln.inspecting.windows_facts import MOST_FACTS_BYTES
from vmkiln.run_failures import InspectionFailed

TOLD = {
    "answer": "an answer file, which set-up will take: {}",
    "history": "a history of what somebody typed: {}",
    "logon": "a password for a logon without asking: {}",
    "basic": "WinRM takes logins by Basic: {}",
    "token": "local administrators have all their rights over the network: {}",
}
TAKEN = {"answer": "the answer file", "override": "StartOverride, which keeps a driver from starting, of"}
NO_WINDOWS = "no Windows that can be read was found on the disks"


@dataclass(frozen=True)
class WindowsLook:
    """What was found in a finished image, what is told, and what could not be read."""

    found: tuple[Found, ...] = ()
    told: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()


@dataclass(frozen=True)
class TakenOut:
    """What was taken out of a run's overlay before its VM starts, and what stays, with the reason.

    `broken` says why the overlay is of no use any more; '' when it is.
    """

    taken: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    broken: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What of it is told, and kept in the run's log."""
        copy = "of the run's copy of the image"
        if self.broken:
            return (f"nothing is taken out {copy}: {self.broken}",)
        parts = [text.partition(" ") for text in self.taken]
        return (
            *(f"taken out {copy}: {TAKEN.get(kind, kind)} {place}" for kind, _, place in parts),
            *(f"not taken out {copy}: {text}" for text in self.stays),
        )


def read_residues(answer: bytes) -> WindowsLook:
    """What was found. Raises: `InspectionFailed` for an answer that is not whole, or not in its form."""
    found: list[Found] = []
    told: list[str] = []
    unproven: list[str] = []
    is_windows = False
    for name, text in _lines(answer):
        word, _, place = text.partition(" ")
        if name == "left" and word in set(Residue):
            found.append(Found(Residue(word), place))
        elif name == "told" and word in TOLD:
            told.append(TOLD[word].format(place))
        elif name == "unread":
            unproven.append(text)
        elif name == "device":
            is_windows = True
        else:
            raise _not_in_form()
    if not is_windows:
        unproven.append(NO_WINDOWS)
    return WindowsLook(tuple(sorted(set(found), key=str)), tuple(told), tuple(unproven))


def read_taken_out(answer: bytes) -> TakenOut:
    """What was taken out. Raises: `InspectionFailed` for an answer that is not whole, or not in its form."""
    lines: dict[str, list[str]] = {"taken": [], "stays": [], "broken": [], "device": [], "unread": []}
    for name, text in _lines(answer):
        if name not in lines:
            raise _not_in_form()
        lines[name].append(text)
    return TakenOut(tuple(lines["taken"]), (*lines["stays"], *lines["unread"]), "; ".join(lines["broken"]))


def _lines(answer: bytes) -> list[tuple[str, str]]:
    """Each line before the last, by its name."""
    if len(answer) > MOST_FACTS_BYTES:
        raise InspectionFailed(f"the VM that looks at a Windows image told more than {MOST_FACTS_BYTES >> 10} KiB")
    lines = [line.partition("=") for line in answer.decode(errors="replace").split("\n") if line]
    if not lines or lines[-1][0] != "end":
        raise InspectionFailed("the answer of the VM that looks at a Windows image is not whole")
    if not all(sign for _, sign, _ in lines):
        raise _not_in_form()
    return [(name, harmless(text).strip()) for name, _, text in lines[:-1]]


def _not_in_form() -> InspectionFailed:
    return InspectionFailed("what the VM that looks at a Windows image tells is not in its form")
