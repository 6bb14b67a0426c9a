"""Which operations on image templates begin now: so many at once, in turn between subscriptions.

What waits stays in the database, so nothing is lost. One that failed waits for a while before it is tried again, and
longer each time, so that it takes no turn from others. Pure, but for what `Failed` remembers.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from vmkiln.store.rows import OperationRow

MOST_AT_ONCE = 32
MOST_OF_A_SUBSCRIPTION = 8
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0


def next_ones(waiting: Sequence[OperationRow], going_on: Collection[OperationRow]) -> list[OperationRow]:
    """Those that begin now: next is whoever's subscription has the fewest going on, of those the oldest."""
    taken = Counter(operation.subscription_id for operation in going_on)
    left = sorted(waiting, key=lambda operation: operation.started)
    found: list[OperationRow] = []
    while left and taken.total() < MOST_AT_ONCE:
        operation = min(left, key=lambda operation: taken[operation.subscription_id])
        if taken[operation.subscription_id] >= MOST_OF_A_SUBSCRIPTION:
            break
        left.remove(operation)
        taken[operation.subscription_id] += 1
        found.append(operation)
    return found


@dataclass
class Failed:
    """The operations that failed, by their ids, each with when it is tried again and after which pause."""

    _pauses: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, operation_id: str, *, now: float) -> None:
        """One has failed once more; `now` is by the clock that `not_due` is asked by."""
        _, last = self._pauses.get(operation_id, (0.0, FIRST_PAUSE_SECONDS / 2))
        pause = min(2 * last, LONGEST_PAUSE_SECONDS)
        self._pauses[operation_id] = now + pause, pause

    def forget(self, operation_id: str) -> None:
        """One has ended."""
        self._pauses.pop(operation_id, None)

    def not_due(self, *, now: float) -> set[str]:
        """Those that are not tried yet."""
        return {operation_id for operation_id, (due, _) in self._pauses.items() if due > now}
