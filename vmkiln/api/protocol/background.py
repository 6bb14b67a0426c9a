"""What goes on after an answer, deployments and deletions of resource groups: in threads, of which there are few.

Whoever wants one takes a place before anything is recorded, and is refused when none is free; so nothing that was
accepted waits for a thread. A subscription has at most a quarter of them, so it cannot keep the others out.
Source: Azure's "Understand how Azure Resource Manager throttles requests": 429 with `Retry-After`, which clients obey.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from vmkiln.errors import ArmError

MOST_AT_ONCE = 64
MOST_OF_A_SUBSCRIPTION = 16
RETRY_SECONDS = 15
Function = Callable[[], None]
log = logging.getLogger(__name__)


class Background(Protocol):
    """Runs functions after the answer."""

    def reserved(self, subscription_id: str) -> AbstractContextManager[Callable[[Function], None]]:
        """A place for one function, to be given to what is yielded before the block ends. Raises: `ArmError` 429."""


class BackgroundThreads:
    """A thread for each function, as far as there is a place.

    What one raises is told, and `on_failure` called. The end of the service does not wait for them: what they leave
    undone is ended by the next start, and said so.
    """

    def __init__(self, *, on_failure: Function = lambda: None) -> None:
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def reserved(self, subscription_id: str) -> Iterator[Callable[[Function], None]]:
        """A place for one function of a subscription, free again when the function has ended or was never given.

        Its thread is there before the block begins, and does the function when the block has ended.
        Raises: `ArmError` 429 when there is none, 503 when the machine has no thread for it.
        """
        owner = subscription_id.lower()
        self._take(owner)
        given: list[Function] = []
        is_decided = threading.Event()

        def work() -> None:
            is_decided.wait()
            try:
                for function in given:
                    function()
            except BaseException:
                log.exception("what was to be done after a request failed")
                self._on_failure()
            finally:
                if given:
                    self._give_back(owner)

        try:
            threading.Thread(target=work, name="background", daemon=True).start()
        except RuntimeError as error:
            self._give_back(owner)
            raise no_thread() from error
        try:
            yield given.append
        finally:
            if not given:
                self._give_back(owner)
            is_decided.set()

    def _take(self, owner: str) -> None:
        with self._lock:
            if self._taken[owner] >= MOST_OF_A_SUBSCRIPTION:
                raise _too_many(f"of the subscription '{owner}'", MOST_OF_A_SUBSCRIPTION)
            if self._taken.total() >= MOST_AT_ONCE:
                raise _too_many("of this service", MOST_AT_ONCE)
            self._taken[owner] += 1

    def _give_back(self, owner: str) -> None:
        with self._lock:
            self._taken[owner] -= 1
            self._taken += Counter()  # forgets subscriptions with none


def no_thread() -> ArmError:
    """What is answered when the machine has no thread for what was asked for; nothing was done."""
    message = f"This machine has no thread for it now. Please try again after '{RETRY_SECONDS}' seconds."
    return ArmError(503, "ServerBusy", message, headers={"Retry-After": str(RETRY_SECONDS)})


def _too_many(whose: str, most: int) -> ArmError:
    message = (
        f"{most} deployments and deletions of resource groups {whose} go on, and no more may at once. "
        f"Please try again after '{RETRY_SECONDS}' seconds."
    )
    return ArmError(429, "TooManyRequests", message, headers={"Retry-After": str(RETRY_SECONDS)})
