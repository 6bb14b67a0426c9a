"""What a container group may write to its log: so many bytes a second, and so many in all.

Whoever has root there can write without end. The pace is kept by reading no faster, so that it waits inside its VM and
costs the service a part of one CPU at most.
"""

import asyncio
from dataclasses import dataclass

from vmkiln.run_failures import NotBelieved

MOST_LOG_BYTES_PER_SECOND = 4 * 1024 * 1024
MOST_LOG_BYTES = 4 * 1024**3


def _now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class OutputLimit:
    """Counts what came; a second's worth may come at once."""

    most_bytes: int = MOST_LOG_BYTES
    bytes_per_second: int = MOST_LOG_BYTES_PER_SECOND
    seen: int = 0
    _free_at: float = 0.0  # when all that came would have come at the pace

    async def passed(self, size_bytes: int) -> None:
        """Return when this much more may be taken in. Raises: `NotBelieved` when it is too much in all."""
        self.seen += size_bytes
        if self.seen > self.most_bytes:
            raise NotBelieved(
                f"the container group wrote more than {self.most_bytes} bytes of log in one phase",
                hint="a step that prints without end does that, too: let it write to a file in the VM",
            )
        self._free_at = max(self._free_at, _now()) + size_bytes / self.bytes_per_second
        if (early := self._free_at - 1 - _now()) > 0:
            await asyncio.sleep(early)
