"""Every error that vmkiln reports, as one tree; ten of them stand where they are raised, and say so here.

What a run ends Failed with is in `run_failures.py`.

VmkilnError                      anything we report; carries an optional hint saying what to do next
├── InputError                   what the user gave is wrong; nothing was started (exit code 2)
│   ├── TemplateInvalid          one or more mistakes in an image template, each with its JSON path
│   ├── NotBuildable             a template without a mistake that cannot be built here (`buildable/examination.py`)
│   ├── Occupied                 something else works in the state directory (`service.py`)
│   └── Unfit                    a template that cannot be provisioned (`provisioning/submitting.py`)
├── HostUnfit                    this machine lacks something a build needs (exit code 3)
├── StorageFailed                a file or the database could not be written or read
│   ├── StorageFull              because the disk is full
│   ├── DatabaseAway             the database cannot be used now: its server is away, or it is locked long (exit code 3)
│   │   └── ConnectionGone       the connection ended that was waited with (`store/driver/write_lock.py`)
│   └── DatabaseMoved            what was in it is in another one now (`store/moving/moved_mark.py`)
├── KeyUnavailable               a key that seals or signs is missing, or what it sealed was changed
├── ProgramGone                  a program inside a run's namespaces has ended (`host/namespace.py`)
├── CommandFailed                a program ended with an error or ran past its limit
├── BlobServerAway               the blob server does not answer, or refuses (`blobs/account_containers.py`)
├── DownloadFailed               a URL could not be fetched or did not match its checksum
├── ImageUnsafe                  a disk image was refused before any tool opened it
├── ProvenanceRefused            an image is not what a statement says (`provenance/envelope.py`)
├── ImageNotFound                a source or stored image does not exist (exit code 2)
├── ImageConflict                a target image version exists already, or is of another kind
│   └── OtherImageKind           the image definition is of another operating system, generation or CPU
├── QuotaReached                 a subscription keeps as much as it may (`store/bounded/quota.py`)
├── GroupNotFound                the resource group that an image was to be published to is not there any more
├── SharedStorageFailed          the object store that hosts share refused, or is away
│   └── ObjectMissing            it has no such object
├── RunFailed                    a run ended Failed; says in which phase and why (exit code 1)
│   ├── PartlyPublished          it published some of its images and not the others (exit code 4)
│   ├── CustomizationFailed      a customizer ended with an error
│   ├── ValidationFailed         an in-VM validation ended with an error
│   ├── DistributionFailed       a distribute target could not be written
│   ├── RunTimedOut              buildTimeoutInMinutes was reached
│   ├── LoginTimedOut            Packer could not log in to a VM in the time that a VM has for booting
│   ├── NamespaceLost            what holds the run's namespaces ended, and all that ran inside with it
│   │   └── LauncherLost         so did what the supervisors of all runs here are copies of
│   ├── EgressLost               the build VM's way to the Internet ended
│   ├── RightsLost               whoever's rights the run has may not use what its template names
│   ├── QuotaExceeded            the run's subscription has as much as it may have
│   ├── NotBelieved              what the container group tells cannot be true, or is without measure
│   ├── LogLost                  what a VM says could not be read or kept any more
│   ├── GeneralizationIncomplete  something of the build is left in the image
│   ├── ReleaseRefused           the image has not what the operator's release policy demands
│   ├── InspectionFailed         a finished disk could not be looked at, or not wholly
│   │   └── AnswerRefused        what was told of it cannot be true, or is too much
│   ├── AllowanceSpent           a VM wrote more than its run may have of the disk
│   ├── NotConfined              the process of a VM is not held as it is meant to be; its guest has not run
│   └── VirtualMachineLost       a VM ended when it should have been running
│       ├── VirtualMachineNotSaved  it could not be saved
│       ├── CheckpointLost       it went on from a checkpoint, and became no other machine
│       ├── ContainerGroupLost   it was the container group's
│       └── GuestPanicked        its kernel panicked
├── NotKept                      a build's VM is not kept at a checkpoint (`run/checkpoints/keeping.py`)
├── NotLeased                    a failed VM cannot be put on disk (`run/held/sealing.py`)
├── NotSent                      a notice was not taken by its receiver (`notice/webhook.py`)
├── ServiceAway                  a service that was to be asked does not answer (exit code 3, `cli/service/answers.py`)
│   └── UnexpectedAnswer         what answers is no service of ours (there, too)
├── ArmError                     a request to the service was refused; carries HTTP status, code, target, details
│   ├── DeploymentFailed         a resource of a deployment could not be made (`api/resources/deployment_run.py`)
│   └── DeploymentCanceled       somebody asked for the deployment to be cancelled (there, too)
├── RunTakenOver                 a run was given to another host, or attempt; nothing more is written for it here
├── LeaseLost                    this host could not renew its lease; its builds were ended (exit code 3)
├── TaskEnded                    a part of the service ended that nobody asked to end (exit code 1)
├── RunCanceled                  the user cancelled the run (exit code 130)
└── CleanUpFailed                something temporary could not be deleted; names each leftover
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Self

from vmkiln.harmless_text import harmless

NO_SERVICE = "UnexpectedAnswer"  # what answered is no service of ours, whatever its status


class VmkilnError(Exception):
    """Anything vmkiln reports: what was being done, to what, and what came back; `hint` says what to do next."""

    code = "InternalError"
    exit_code = 1
    outside = ""  # what callers on other machines are told instead, where the message names paths and hosts of ours

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def mask(self, mask: Callable[[str], str]) -> None:
        """Take whatever `mask` takes out of its words, in place: a traceback shows what a copy is chained to."""
        self.message, self.hint = mask(self.message), mask(self.hint) if self.hint else None
        self.args = (self.message,)


class InputError(VmkilnError):
    """What the user gave is wrong; nothing was started."""

    code = "BadInput"
    exit_code = 2


class MistakeKind(Enum):
    """What kind of mistake it is, for whoever tells it in other words than ours."""

    VALUE = auto()
    UNKNOWN_MEMBER = auto()
    MISSING_MEMBER = auto()
    CUSTOMIZER_OF_ANOTHER_SYSTEM = auto()
    LOST_TARGET = auto()
    NOT_KNOWN_HERE = auto()
    NOT_KNOWN_YET = auto()


@dataclass(frozen=True)
class Mistake:
    """One mistake in a template: where (JSON path such as `properties.customize[0].inline`), what, what is allowed.

    `line` and `column` of `file` are where that is written, counted from 1; 0 where nobody knows.
    """

    path: str
    message: str
    hint: str | None = None
    kind: MistakeKind = field(default=MistakeKind.VALUE, kw_only=True)
    file: str = field(default="", kw_only=True)
    line: int = field(default=0, kw_only=True)
    column: int = field(default=0, kw_only=True)

    @classmethod
    def unknown(cls, path: str, hint: str | None = None) -> "Mistake":
        """There is a member that nobody knows."""
        return Mistake(path, "is not a known member", hint, kind=MistakeKind.UNKNOWN_MEMBER)

    @classmethod
    def missing(cls, path: str, hint: str | None = None) -> "Mistake":
        """A member that has to be there is not."""
        return Mistake(path, "is required", hint, kind=MistakeKind.MISSING_MEMBER)

    def masked(self, mask: Callable[[str], str]) -> Self:
        """The same without what `mask` takes out of words; pure."""
        hint = mask(self.hint) if self.hint else None
        return replace(self, path=mask(self.path), message=mask(self.message), hint=hint)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        text = f"{place}{self.path}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


@dataclass(frozen=True)
class CodedMistake(Mistake):
    """A mistake for which Azure has an error code of its own."""

    code: str = ""


def mistake_lines(mistakes: Sequence[Mistake]) -> str:
    """A line for each mistake: a line end in what a template has is shown, for a CI obeys lines; pure."""
    return "\n".join(f"  {harmless(str(mistake))}" for mistake in mistakes)


class TemplateInvalid(InputError):
    """One or more mistakes in an image template; `mistakes` has them all."""

    code = "ValidationFailed"

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(self._text())

    def _text(self) -> str:
        count = len(self.mistakes)
        return f"the template has {count} mistake{'s' if count != 1 else ''}:\n{mistake_lines(self.mistakes)}"

    def mask(self, mask: Callable[[str], str]) -> None:
        """The same for its mistakes, of which programs are told one by one."""
        self.mistakes = tuple(one.masked(mask) for one in self.mistakes)
        self.message = self._text()  # anew: a secret of several lines is found before its line ends are shown
        super().mask(mask)


class HostUnfit(VmkilnError):
    """This machine lacks something a build needs."""

    code = "HostUnfit"
    exit_code = 3


class StorageFailed(VmkilnError):
    """A file or the database could not be written or read. What was not acknowledged before is not there."""

    code = "StorageFailed"
    outside = "The service's storage cannot be used now"


class StorageFull(StorageFailed):
    """The disk is full."""

    code = "InsufficientStorage"
    exit_code = 3
    outside = "The service's disk is full"

    def __init__(self, message: str, *, hint: str | None = "make room on that disk, then do it again") -> None:
        super().__init__(message, hint=hint)


class DatabaseAway(StorageFailed):
    """The database cannot be used now: its server is away, it is locked for long, or its disk fails."""

    code = "DatabaseAway"
    exit_code = 3
    is_in_doubt = False  # whether what was to be committed may be done
    outside = "The service's database cannot be used now"


class KeyUnavailable(VmkilnError):
    """A key that secrets are sealed with, or that signs, cannot be used; or a sealed value was changed."""

    outside = "a key of the service cannot be used"


class CommandFailed(VmkilnError):
    """A program ended with an error or ran past its limit; carries its argument list, exit status and output."""

    code = "CommandFailed"
    outside = "A program that the service runs failed"

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        exit_status: int | None,
        output: str,
        reason: str,
        hint: str | None = None,
    ) -> None:
        self.arguments = tuple(arguments)
        self.exit_status = exit_status
        self.output = output
        tail = output.strip()[-2000:]
        super().__init__(f"{arguments[0]} {reason}" + (f": {tail}" if tail else ""), hint=hint)


class DownloadFailed(VmkilnError):
    """A URL could not be fetched or did not match its checksum; `paths` are the places of a template that named it."""

    code = "DownloadFailed"

    def __init__(self, message: str, *, hint: str | None = None, paths: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.paths = tuple(paths)


class ImageUnsafe(VmkilnError):
    """A disk image was refused before any tool opened it."""

    code = "SourceImageUnsafe"


class ImageNotFound(VmkilnError):
    """A source or stored image does not exist."""

    code = "ImageNotFound"
    exit_code = 2


class ImageConflict(VmkilnError):
    """A target image version exists already, or is of another kind."""

    code = "Conflict"


class OtherImageKind(ImageConflict):
    """An image does not fit an image definition of another kind: operating system, generation, CPUs."""

    def __init__(self, definition: str, *, has: tuple[str, int, str], image: tuple[str, int, str]) -> None:
        super().__init__(
            f"the image definition {definition} is {has[0]} generation {has[1]} for {has[2]}, "
            f"but this image is {image[0]} generation {image[1]} for {image[2]}",
            hint="name an image definition of the source's kind, or make one",
        )


class GroupNotFound(VmkilnError):
    """The resource group that an image was to be published to is not there any more."""

    code = "ResourceGroupNotFound"


class QuotaReached(VmkilnError):
    """A subscription keeps as much as it may of something; `code` is Azure's word for it."""

    code = "ResourceQuotaExceeded"

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SharedStorageFailed(VmkilnError):
    """The object store that hosts share refused, or is away."""

    code = "SharedStorageFailed"
    outside = "The storage that the service's hosts share cannot be used now"


class ObjectMissing(SharedStorageFailed):
    """The object store has no such object."""


class ArmError(VmkilnError):
    """A request to the service was refused.

    `status` is HTTP's, `code` one of Azure's words, `target` the member it is about; `details` are more errors of the
    same shape; `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str = "",
        details: Sequence[Mapping[str, object]] = (),
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        is_away = status in {429, 502, 503, 504} or code == NO_SERVICE
        self.exit_code = 3 if is_away else 2 if status in {400, 404, 405} else 1
        self.code = code
        self.target = target
        self.details = tuple(details)
        self.headers = dict(headers or {})


class RunTakenOver(VmkilnError):
    """A run was given to another host, or is another attempt's; nothing more is written for it here."""

    code = "RunTakenOver"


class LeaseLost(VmkilnError):
    """This host could not renew its lease in time; its builds were ended, for others may have taken them over."""

    code = "LeaseLost"
    exit_code = 3


class TaskEnded(VmkilnError):
    """A part of the service ended that nobody asked to end, so the service ends too."""


class RunCanceled(VmkilnError):
    """The user cancelled the run."""

    code = "Canceled"
    exit_code = 130


class CleanUpFailed(VmkilnError):
    """Something temporary could not be deleted; the message names each leftover."""

    code = "CleanUpFailed"
    outside = "Something temporary could not be deleted on the service's host"
