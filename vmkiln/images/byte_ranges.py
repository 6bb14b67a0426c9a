"""The parts of an image file: read at their places, each within the file, none on another; pure but for the reading."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vmkiln.errors import ImageUnsafe

MOST_VIRTUAL_BYTES = 2 * 1024**4
ReadAt = Callable[[int, int], bytes]  # an offset and a length in bytes; fewer bytes come only from the file's end


@dataclass(frozen=True)
class Span:
    """A part of a file: where it begins, how long it is in bytes, and what an error calls it."""

    start: int
    length: int
    name: str


def check_apart(fixed: Sequence[Span], blocks: Sequence[int], block_bytes: int, size_bytes: int, *, what: str) -> None:
    """Refuse parts that leave the file or lie on each other; `blocks` are the offsets of parts of one length.

    A block that is named twice would make a small file a large disk. Raises: `ImageUnsafe`.
    """
    in_order = sorted(blocks)
    for span in fixed:
        if span.start < 0 or span.start + span.length > size_bytes:
            raise ImageUnsafe(f"the {what} file has {span.name} outside of it")
    if in_order and (in_order[0] < 0 or in_order[-1] + block_bytes > size_bytes):
        raise ImageUnsafe(f"the {what} file has a block outside of it")
    for before, after in pairwise(in_order):
        if before + block_bytes > after:
            raise ImageUnsafe(f"the {what} file has blocks that lie on each other")
    parts = sorted(fixed, key=lambda span: span.start)
    for first, second in pairwise(parts):
        if first.start + first.length > second.start:
            raise ImageUnsafe(f"the {what} file has {first.name} and {second.name} on each other")
    position = 0
    for span in parts:
        while position < len(in_order) and in_order[position] + block_bytes <= span.start:
            position += 1
        if position < len(in_order) and in_order[position] < span.start + span.length:
            raise ImageUnsafe(f"the {what} file has a block that lies on {span.name}")
