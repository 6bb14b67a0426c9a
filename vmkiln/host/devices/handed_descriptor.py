"""A descriptor that QEMU gets, for it opens no path: it goes over the socket that QEMU is controlled by.

*Leaves behind:* nothing: QEMU closes what it took as it ends. *Undone by:* nothing to undo. *Safe to repeat:* yes.
Source: QEMU's QMP reference, `getfd`, `add-fd`; unix(7), SCM_RIGHTS.
"""

from qemu.qmp import QMPClient, QMPError


def hand_over(control: QMPClient, descriptor: int) -> None:
    """Send QEMU a descriptor, which its next command takes; ours stays ours. Raises: `QMPError`, and nothing else.

    The client of QMP tells a QEMU that has just ended in three ways: by errors of its own, of the socket, and by an
    assertion.
    """
    try:
        control.send_fd_scm(descriptor)
    except (AssertionError, OSError) as error:
        raise QMPError(f"QEMU takes no file: {str(error) or 'it has ended'}") from error
