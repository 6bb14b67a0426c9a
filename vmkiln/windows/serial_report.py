"""What a Windows VM says on its second serial port: each act of its set-up, that it is ready, and how it ended.

The lines are a guest's: bounded, made harmless, and believed only together with what is seen from outside (a login that
works, a VM that is off).
"""

from dataclasses import dataclass

from vmkiln.harmless_text import harmless

MOST_LINE_BYTES = 4096
MOST_LINES = 1000
ACT, READY, FINISH = "VMKILN", "VMKILN-READY ok", "VMKILN-FINISH"


@dataclass(frozen=True)
class Act:
    """One act of set-up, with the reason when it failed."""

    phase: str
    name: str
    reason: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the VM will not get ready by itself."""
        return bool(self.reason)


class SerialReport:
    """Reads the port as it comes. `left` is what the end could not take away: none before it, '' when all is gone."""

    def __init__(self) -> None:
        self._pending = b""
        self._lines = 0
        self.acts: list[Act] = []
        self.is_ready = False
        self.left: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, in whatever pieces they come; what is too long or too much is left out."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        self._pending = self._pending[: MOST_LINE_BYTES + 1]  # one too long stays too long, however it comes
        for line in lines:
            text = harmless(line.decode(errors="replace")).strip() if len(line) <= MOST_LINE_BYTES else ""
            if text.startswith(ACT):  # the firmware writes to this port, too, at each of its boots
                self._lines += 1
                if self._lines <= MOST_LINES:
                    self._take(text)

    def _take(self, line: str) -> None:
        if line == READY:
            self.is_ready = True
            return
        match line.split(" ", 4):
            case [word, *said] if word == FINISH:
                outcome, _, what = " ".join(said).partition(" ")
                self.left = "" if outcome == "ok" and not what else what or outcome or "an end without a word"
            case [word, phase, name, "ok"] if word == ACT:
                self.acts.append(Act(phase, name))
            case [word, phase, name, "failed", *reason] if word == ACT:
                self.acts.append(Act(phase, name, " ".join(reason) or "no reason was told"))
