"""What was decided for a run, and what was measured: each fact by its name, kept as JSON with the run."""

from typing import TypedDict


class NeedFact(TypedDict):
    cpus: int
    memory_mib: int
    disk_mib: int


# named after the VM beside which the container group ran
PeakFacts = TypedDict(
    "PeakFacts",
    {"build-vm_container_peak_kib": int | None, "validation-vm_container_peak_kib": int | None},
    total=False,
)


class RunFacts(PeakFacts, total=False):
    """Everything that may be known of a run; a run that waits has few of them.

    `attempt` counts how often it was begun, `reason` says who asked for it, `correlation_id` is that of the act it
    began with, `host_id` is the host that has it, `need` is what the host keeps for it. `packets` counts by rule of
    the firewall. `queued` is when it was asked for (ISO 8601): where it waits when it waits again.
    """

    attempt: int
    reason: str
    correlation_id: str
    queued: str
    host_id: str
    need: NeedFact
    isolation_level: str
    accelerator: str
    accelerator_reason: str
    packer_version: str
    container_image: str
    storage_account: str
    source_exact_version: str
    source_digest: str
    source_origin: str
    generation: int
    os_type: str
    topology: str
    packets: dict[str, int]


class SourceFacts(TypedDict):
    """Which image a run started from."""

    source_exact_version: str
    source_digest: str
    source_origin: str
    generation: int
    os_type: str
