"""The source of a run, resolved: which exact image the build VM starts from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ResolvedSource:
    """A verified disk image and what is known of it. `virtual_size_bytes` is what a guest sees."""

    path: Path
    format: str
    digest: str
    exact_version: str
    generation: int
    os_type: str
    virtual_size_bytes: int
    origin: str

    @property
    def facts(self) -> dict[str, Any]:
        """What the run records of its source."""
        return {
            "source_exact_version": self.exact_version,
            "source_digest": self.digest,
            "source_origin": self.origin,
            "generation": self.generation,
            "os_type": self.os_type,
        }
