"""What was decided for a run, and what was measured: each fact by its name, kept as JSON with the run."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


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


# whether that container group, and that VM, went on from a saved one, and was not booted
StartFacts = TypedDict(
    "StartFacts",
    {
        "build-vm_container_went_on": bool,
        "validation-vm_container_went_on": bool,
        "build-vm_went_on": bool,
        "validation-vm_went_on": bool,
    },
    total=False,
)


# what held the process of each VM, and of the way out: facts by name, with what was expected and found
# (host/confinement/confinement.py)
ConfinementFacts = TypedDict(
    "ConfinementFacts",
    {
        "build-vm_confinement": list[dict[str, Any]],
        "container-build-vm_confinement": list[dict[str, Any]],
        "validation-vm_confinement": list[dict[str, Any]],
        "container-validation-vm_confinement": list[dict[str, Any]],
        "inspection-vm_confinement": list[dict[str, Any]],
        "egress_confinement": list[dict[str, Any]],
    },
    total=False,
)
CONFINEMENT = "_confinement"
FINISHED = "finished"


def confinement_of(facts: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What held the processes of a run, by the name of the VM, or `egress`; pure."""
    return {name.removesuffix(CONFINEMENT): value for name, value in facts.items() if name.endswith(CONFINEMENT)}


def beside_confinement(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run without those, which are long and are asked for apart, and without what it finished; pure."""
    return {name: value for name, value in facts.items() if not name.endswith(CONFINEMENT) and name != FINISHED}


class KeptDiskFacts(TypedDict):
    """The customized disks of a run in a folder of the host `host_id`, on disk since its boot `boot_id`.

    Sizes in bytes of every file of the chain, by its name; SHA-256 of those that the build VM wrote. `resources` has
    the numbers of those disks in the staging resource group.
    """

    host_id: str
    boot_id: str
    folder: str
    sizes: dict[str, int]
    digests: dict[str, str]
    resources: list[int]


class FinishedFacts(TypedDict):
    """The steps of a run that are finished and on disk, for a later attempt (run/finished/finished_work.py).

    `until` is when the disk of a run goes that nobody begins anew by itself (ISO 8601); '' for the end of the run.
    `image` is the flattened disk in the object store that all hosts share, and `objects` are its keys there; `contents`
    is what was found in it, `source_contents` what was found in the source.
    """

    attempt: int
    made_of: str
    source: dict[str, Any]
    disk_bytes: int
    disk: KeptDiskFacts
    until: str
    is_validated: bool
    validation_error: str
    validated: str
    image: dict[str, Any] | None
    contents: str
    source_contents: NotRequired[str]
    objects: list[str]


def finished_objects(facts: Mapping[str, Any]) -> list[str]:
    """The keys of the objects that a later attempt of a run goes on from; pure."""
    return list((facts.get(FINISHED) or {}).get("objects", ()))


class ImageDifferenceFact(TypedDict):
    """Which image the run's was compared with, and how much differs."""

    image: str
    sentence: str


class HygieneFact(TypedDict):
    """The hygiene gate's verdict: what was allowed to stay, what was told, what could not be looked at.

    `digest` is the SHA-256 of the OS disk's file that it is about, once there is one.
    """

    verdict: str
    allowed: list[str]
    told: list[str]
    unproven: list[str]
    digest: NotRequired[str]


class BootFact(TypedDict):
    """How long it took from the start of the boot gate's VM until Packer had logged in and ended, in seconds.

    `digest` is that of the disks which it booted. `by_run` is the run that booted the same bytes, when that was another
    one.
    """

    seconds_to_ssh: float
    digest: NotRequired[str]
    by_run: NotRequired[str]


class VmBootFact(TypedDict):
    """What `optimize.vmBoot` came to: what was taken away, the seconds of each measured boot, whether it was kept.

    `digest` is that of the customized disks, from which a later attempt of the run would come to the same.
    """

    is_kept: bool
    trimmed: list[str]
    seconds_before: list[float]
    seconds_after: list[float]
    digest: str


class CheckpointFact(TypedDict):
    """The checkpoint that a run began behind: its key, the run that made it, behind which customizer, its age then.

    `no_persistence` is whether nothing of an earlier build was in reach of this one, as SLSA's build isolation asks.
    `lent_by` is the other template whose it is, by its id, or by group and name for one of a command.
    """

    key: str
    run_id: str
    position: int
    step: str
    age_seconds: int
    no_persistence: bool
    lent_by: NotRequired[str]


class LeaseFact(TypedDict):
    """A failed VM that lies on disk: until when (ISO 8601), how much it takes of it, on which host.

    `released` says that it was let go elsewhere, and its host is to delete it.
    """

    until: str
    size_mib: int
    host_id: str
    released: NotRequired[bool]


class BuiltOfFact(TypedDict):
    """What a command built: the files by their whole paths, '' where it read standard input, and its options.

    `given_names` are those of the parameters whose values it was given itself, which are not kept; `given_answers` the
    same of functions such as `listKeys(ID)`, beside the `references` that are kept.
    """

    template: str
    parameter_files: list[str]
    given_names: list[str]
    given_answers: NotRequired[list[str]]
    resource_group: str
    subscription: str
    location: str
    template_name: str
    references: list[str]
    allow_local_files: bool
    egress: list[str]
    allow_egress: list[str]
    virtual_networks: list[str]
    cold: bool
    no_cache: bool
    max_age: float
    held_minutes: int


class RunFacts(PeakFacts, StartFacts, ConfinementFacts, total=False):
    """Everything that may be known of a run; a run that waits has few of them.

    `attempt` counts how often it was begun, `reason` says who asked for it, `begun_by` is the name of that person or
    program, `retry_of` is the id of the run that it repeats, `correlation_id` is that of the act it began with,
    `host_id` is the host that has it, `need` is what the host keeps for it. `packets` counts by rule of the firewall.
    `queued` is when it was asked for (ISO 8601): where it waits when it waits again. `host_faults` counts by the host's
    name how often it was put back for a fault of that host. `placement` says in words why it is on the host that has
    it. `ended_before` is when a run ended that was lost and goes on (ISO 8601). `held_until` is until when its failed
    VM, which runs, can be entered (ISO 8601); '' when it can not any more. `lease` is the one that lies on disk; none
    when it was let go. `finished` is what a later attempt does not do again. `built_of` is what a command built; runs
    of an image template have none.
    """

    attempt: int
    reason: str
    retry_of: str
    begun_by: str
    correlation_id: str
    queued: str
    host_id: str
    placement: str
    ended_before: str
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
    egress_policy: str
    packets: dict[str, int]
    image_difference: ImageDifferenceFact
    hygiene: HygieneFact
    checkpoint: CheckpointFact | None
    boot: BootFact | None
    vm_boot: VmBootFact
    host_faults: dict[str, int]
    held_until: str
    lease: LeaseFact | None
    finished: FinishedFacts | None
    built_of: BuiltOfFact


class SourceFacts(TypedDict):
    """Which image a run started from."""

    source_exact_version: str
    source_digest: str
    source_origin: str
    generation: int
    os_type: str
