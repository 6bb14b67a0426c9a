"""A run of an image template: its states, its phases, what it ended with.

Source: docs/reference/image-template.md#template (runState, runSubState).
"""

import uuid
from enum import StrEnum

from vmkiln.errors import HostUnfit, KeyUnavailable, ObjectMissing, SharedStorageFailed, StorageFailed, VmkilnError
from vmkiln.run_failures import PartlyPublished, RunFailed

OF_THE_HOST = (HostUnfit, StorageFailed, SharedStorageFailed, KeyUnavailable)


class RunState(StrEnum):
    """What a run is doing as a whole."""

    QUEUED = "Queued"
    RUNNING = "Running"
    CANCELING = "Canceling"
    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


GOING_ON = (RunState.RUNNING, RunState.CANCELING)
LIVE_STATES = frozenset({RunState.QUEUED, *GOING_ON})
TERMINAL_STATES = frozenset({RunState.SUCCEEDED, RunState.PARTIALLY_SUCCEEDED, RunState.FAILED, RunState.CANCELED})


class Phase(StrEnum):
    """Where a run is: AIB's runSubState, and the clean-up that always follows."""

    QUEUED = "Queued"
    BUILDING = "Building"
    CUSTOMIZING = "Customizing"
    OPTIMIZING = "Optimizing"
    VALIDATING = "Validating"
    DISTRIBUTING = "Distributing"
    CLEANING_UP = "CleaningUp"


class PartKind(StrEnum):
    """What a part of a run's timeline is: the work that it did from one moment to another."""

    QUEUE = "queue"
    STAGING = "staging"
    BOOT = "boot"
    CUSTOMIZER = "customizer"
    CHECKPOINT = "checkpoint"
    DEPROVISION = "deprovision"
    POWER_OFF = "powerOff"
    VALIDATION = "validation"
    GATE = "gate"
    FLATTEN = "flatten"
    SHARE = "share"
    PUBLISH = "publish"
    CLEAN_UP = "cleanUp"


class Start(StrEnum):
    """What a part of a run began from: nothing, a state made beforehand, or what an earlier run had come to."""

    COLD = "cold"
    WARM = "warm"
    KEPT = "kept"


def new_run_id() -> str:
    """An id for a new run."""
    return str(uuid.uuid4())


def code_of(error: BaseException) -> str:
    """The code that a run ends with for an error; pure. Libraries have codes of their own, which are none of ours."""
    return error.code if isinstance(error, VmkilnError) else "InternalError"


def is_of_the_host(error: BaseException) -> bool:
    """Whether an error is a fault of the host, or of what it reaches, so that the run may succeed elsewhere; pure."""
    return isinstance(error, OF_THE_HOST) and not isinstance(error, ObjectMissing)


def told_failure(state: str, message: str) -> RunFailed:
    """The error that tells of a run that ended, and not Succeeded; pure."""
    return (PartlyPublished if state == RunState.PARTIALLY_SUCCEEDED else RunFailed)(message)
