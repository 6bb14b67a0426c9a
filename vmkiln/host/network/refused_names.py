"""What a locked run's guest wanted and its egress policy refused: told once each, with the step that wanted it.

*Leaves behind:* nothing. *Undone by:* the end of the run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmkiln.host.egress.name_proxy import NOT_ALLOWED, Passage
from vmkiln.host.egress.resolver_program import BY_POLICY, Told

ADDRESS_TYPES = ("A", "AAAA")  # other types are asked by the way: programs go on without them
MOST_NAMES = 200  # told of one phase; whoever makes them up gets no more lines


class RefusedNames:
    """Hears the resolver and the name proxy of a run."""

    def __init__(self) -> None:
        self._tell: Callable[[str], None] | None = None
        self._wanted: dict[str, int] = {}
        self._step: Callable[[], int] = lambda: -1

    def question(self, told: Told) -> None:
        """A name that was asked for."""
        if BY_POLICY in told.verdict and told.kind in ADDRESS_TYPES:
            self._note(told.name)

    def passage(self, passage: Passage) -> None:
        """A connection that the name proxy took."""
        if passage.verdict == NOT_ALLOWED:
            self._note(f"{passage.name}:{passage.port}")
        elif passage.verdict.startswith("refused: "):
            self._note(f"port {passage.port} of {passage.chosen} ({passage.verdict.removeprefix('refused: ')})")

    @contextmanager
    def told_to(self, tell: Callable[[str], None], step: Callable[[], int]) -> Iterator[None]:
        """While the block lasts each of them is told once; `step` says the number of the step that is on."""
        self._tell, self._step = tell, step
        self._wanted.clear()
        try:
            yield
        finally:
            self._tell = None

    def of_step(self, step: int) -> tuple[str, ...]:
        """What was first wanted during a step."""
        return tuple(wanted for wanted, at in self._wanted.items() if at == step)

    def _note(self, wanted: str) -> None:
        if self._tell is None or wanted in self._wanted or len(self._wanted) >= MOST_NAMES:
            return
        self._wanted[wanted] = self._step()
        last = "; no more are told" if len(self._wanted) == MOST_NAMES else ""
        self._tell(wanted + last)


def advice(wanted: tuple[str, ...]) -> str:
    """What to do about a step that failed and wanted these; '' for none; pure."""
    if not wanted:
        return ""
    shown = ", ".join(wanted[:5]) + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")
    return f"during this step the egress policy refused {shown}: allow what it needs (docs/egress.md); "
