"""Long-running operations, followed step by step: with a deadline, Azure's own pauses, and a token that outlives us.

The SDK's poller sleeps in a thread of its own without a limit. Here the same polling rules (where to ask, what a
status means, which answer is the last one) are driven from outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from azure.core.exceptions import HttpResponseError
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import BadResponse, BadStatus, OperationFailed
from azure.mgmt.core.polling.arm_polling import ARMPolling

T = TypeVar("T")

_LEAST_PAUSE: Final = 0.0
_MOST_PAUSE: Final = 60.0  # a Retry-After beyond it is for clients that have other things to do


class OperationTimeoutError(Exception):
    """The operation goes on, we do not wait for it any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Seconds that only grow, and a pause. Tests and the SDK's own retries have the same one."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Steps(ARMPolling):
    """The SDK's polling, without its loop: ``LROPoller`` starts a thread that has nothing to do.

    ``pause``: seconds between two questions where Azure names none.
    """

    def __init__(self, *, pause: float = 5.0, options: dict[str, Any] | None = None) -> None:
        super().__init__(pause, lro_options=options)

    def run(self) -> None:
        """Nothing: ``follow`` asks."""

    def is_over(self) -> bool:
        """Ask once, unless the answer is known."""
        if not self.finished():
            try:
                self.update_status()
            except (BadStatus, BadResponse, OperationFailed) as error:
                raise HttpResponseError(response=self._pipeline_response.http_response, error=error) from error
        return bool(self.finished())

    def pause(self) -> float:
        """Seconds that Azure wants between two questions."""
        return min(max(_LEAST_PAUSE, float(self._extract_delay())), _MOST_PAUSE)

    def last(self) -> Any:
        """The end: the last answer's resource. HttpResponseError where the operation failed."""
        super().run()
        return self.resource()


def token(poller: LROPoller[Any]) -> str:
    """What another process needs to go on following."""
    return str(poller.continuation_token())


def follow(poller: LROPoller[T], *, until: float, clock: Clock, beat: Callable[[], None] | None = None) -> T:
    """The operation's result. HttpResponseError where it failed; OperationTimeoutError at ``until``.

    ``beat`` is called before each question.
    """
    steps = poller.polling_method()
    if not isinstance(steps, Steps):
        raise TypeError("the operation was not begun with polling=Steps()")
    while True:
        if beat is not None:
            beat()
        if steps.is_over():
            result: T = steps.last()
            return result
        pause = steps.pause()
        if clock.now() + pause > until:
            raise OperationTimeoutError
        clock.sleep(pause)
