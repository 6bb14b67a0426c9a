"""How many files a process may have open: a service takes all that it may, and gives to programs what it was given.

Source: getrlimit(2): a process may raise its soft limit up to the hard one; "The new (soft) limits for children": what
uses select(2) breaks beyond 1,024, so programs that we start get the limit that we were started with.
"""

import resource

AT_START = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_file_limit() -> int:
    """Take the hard limit for this process; how many files it may have open now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def restore_file_limit() -> None:
    """In a new process, between fork and exec: the soft limit that we were started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > AT_START[0]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (AT_START[0], hard))
