"""What evaluating the templates of one request may cost: one budget for all of it, nested deployments included.

Whatever takes time or memory draws on it before it is done: values, calls, comparisons, letters that are read, bytes
that are made. A step stands for two or three millionths of a second, so the whole budget for about a second and a half,
and what functions cost is counted in the same coin. A template that is refused names the field at which the budget
ended. Nothing here is timed, so a template is refused, or not, on every machine alike.
"""

import sys
from dataclasses import dataclass
from typing import Any

MAXIMUM_STEPS = 500_000
MAXIMUM_BYTES = 64 * 1024**2  # that functions make in all, also of what is thrown away at once
MAXIMUM_NESTING = 120  # of values and calls in one another, variables and user functions included
MOST_MISTAKES = 100  # of one template that are told; each is some hundred letters
MOST_NAMED = 12  # of the names that there are, in a hint
LETTERS_A_STEP = 256  # of a text that is searched, copied or hashed as a whole
VALUES_A_STEP = 16  # that are copied, counted or compared without looking inside


@dataclass
class Budget:
    """What has been spent so far."""

    steps: int = 0
    made_bytes: int = 0
    nesting: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing left."""
        return self.steps > MAXIMUM_STEPS or self.made_bytes > MAXIMUM_BYTES

    def work(self, steps: int) -> None:
        """Before work of so many steps. Raises ValueError when it is more than a template may cost."""
        self.steps += steps
        if self.steps > MAXIMUM_STEPS:
            raise ValueError(f"the template takes more than {MAXIMUM_STEPS} steps to evaluate")

    def make(self, size: int) -> None:
        """Before so many bytes are made. Raises ValueError when they are more than a template may cost."""
        self.made_bytes += size
        if self.made_bytes > MAXIMUM_BYTES:
            raise ValueError(f"the template makes more than {MAXIMUM_BYTES // 1024**2} MiB of values")

    def read(self, value: Any) -> None:
        """Before a text, array or object is gone through without looking at what is inside its elements."""
        if isinstance(value, str):
            self.work(len(value) // LETTERS_A_STEP)
        elif isinstance(value, list | dict):
            self.work(len(value) // VALUES_A_STEP)

    def take(self, value: Any) -> Any:
        """What a function made; elements that were there before are not counted again. Raises ValueError."""
        self.read(value)
        if isinstance(value, str | list | dict):
            self.make(sys.getsizeof(value))
        return value

    def take_with_elements(self, value: list[Any]) -> list[Any]:
        """An array whose elements, texts and numbers, were made with it. Raises ValueError."""
        self.work(len(value) // VALUES_A_STEP)
        self.make(sys.getsizeof(value) + sum(map(sys.getsizeof, value)))
        return value

    def renew(self) -> None:
        """For the next thing that is done with the template, when that is another request's."""
        self.steps = self.made_bytes = 0


class Arguments(list[Any]):
    """What a function is called with, and the budget on which it draws."""

    def __init__(self, values: list[Any], budget: Budget) -> None:
        super().__init__(values)
        self.budget = budget


def some(names: Any) -> str:
    """The first of the names that there are, for a hint."""
    shown = [str(name)[:80] for _, name in zip(range(MOST_NAMED), names, strict=False)]
    left = len(names) - len(shown)
    return f"{', '.join(shown)}, and {left} more" if left > 0 else ", ".join(shown) or "none"
