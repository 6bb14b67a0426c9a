"""What a run ends Failed with, a branch of the tree in `errors.py`."""

from vmkiln.errors import VmkilnError


class RunFailed(VmkilnError):
    """A run ended Failed; says in which phase and why."""

    code = "RunFailed"


class PartlyPublished(RunFailed):
    """A run published some of its images, and could not publish the others."""

    code = "PartlyPublished"
    exit_code = 4


class CustomizationFailed(RunFailed):
    """A customizer ended with an error."""

    code = "PackerBuildFailed"


class ValidationFailed(RunFailed):
    """An in-VM validation ended with an error; `is_booted` is whether Packer had come to one of them."""

    code = "ValidationFailed"
    is_booted = True


class DistributionFailed(RunFailed):
    """A distribute target could not be written."""

    code = "DistributionFailed"


class RunTimedOut(RunFailed):
    """buildTimeoutInMinutes was reached."""

    code = "BuildTimeout"


class LoginTimedOut(RunFailed):
    """Packer could not log in to a VM in the time that a VM has for booting."""

    code = "LoginTimeout"


class NamespaceLost(RunFailed):
    """What holds the run's namespaces ended, and all that ran inside with it."""

    code = "NamespaceTerminated"


class LauncherLost(NamespaceLost):
    """What the supervisors of all runs of a service are copies of ended; a run of a template's waits again."""


class EgressLost(RunFailed):
    """The build VM's way to the Internet ended."""

    code = "EgressTerminated"


class RightsLost(RunFailed):
    """Whoever's rights the run has may not use (any more) what its image template names."""

    code = "LinkedAuthorizationFailed"


class QuotaExceeded(RunFailed):
    """The run's subscription has as much as it may have."""

    code = "QuotaExceeded"


class NotBelieved(RunFailed):
    """What the container group tells cannot be true, or is without measure; nothing of it counts."""

    code = "ContainerGroupNotBelieved"


class AllowanceSpent(RunFailed):
    """A VM wrote more than its run may have of the host's disk."""

    code = "InsufficientStorage"


class LogLost(RunFailed):
    """What a VM says could not be read or kept any more."""

    code = "LogCollectorTerminated"


class VirtualMachineLost(RunFailed):
    """A VM ended when it should have been running."""

    code = "BuildVmTerminated"


class GeneralizationIncomplete(RunFailed):
    """Something of the build, or of the one VM that it ran on, is left in the image; nothing is published."""

    code = "GeneralizationIncomplete"


class ReleaseRefused(RunFailed):
    """The image has not all that the operator's release policy demands; nothing is published."""

    code = "ReleaseRefused"


class InspectionFailed(RunFailed):
    """A finished disk could not be looked at, or what the inspection VM tells is not whole; nothing of it counts."""

    code = "InspectionFailed"


class AnswerRefused(InspectionFailed):
    """What the inspection VM tells of a disk is not in the form of an answer, or too much; the next look's would be."""


class NotConfined(RunFailed):
    """The process of a VM is not held as it is meant to be; its guest has not run."""

    code = "NotConfined"


class VirtualMachineNotSaved(VirtualMachineLost):
    """A VM could not be saved; where it is to go on, it does."""

    code = "BuildVmNotSaved"


class CheckpointLost(VirtualMachineLost):
    """A VM that went on from a checkpoint did not become another machine, and is booted instead."""

    code = "CheckpointLost"


class ContainerGroupLost(VirtualMachineLost):
    """The container group ended before Packer did."""

    code = "ContainerGroupTerminated"


class GuestPanicked(VirtualMachineLost):
    """The kernel of a VM panicked."""

    code = "GuestPanicked"


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of ours in a group that a task group raised, else the first of all."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        item = pending.pop(0)
        if isinstance(item, BaseExceptionGroup):
            pending += item.exceptions
        else:
            leaves.append(item)
    ours = [leaf for leaf in leaves if isinstance(leaf, VmkilnError)]
    return (ours or leaves)[0]
