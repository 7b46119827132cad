"""What goes wrong, and when: the fault plan of a test, and error bodies as Azure sends them.

Codes and messages are from public logs; the sources are named in tests/fixtures/azure/errors.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.doubles.azure.wire import Answer, CutError, Request

ERRORS: Final = Path(__file__).parents[2] / "fixtures/azure/errors.json"


def error_body(code: str, message: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = list(details)
    return {"error": error}


def real_errors() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ERRORS.read_text())["errors"]
    return rows


@dataclass(kw_only=True)
class Fault:
    """Spoils the ``nth`` (from 1) to ``last`` request whose method and path match.

    ``answer`` is given instead of the real one; ``cuts`` breaks the connection before or after the work was done.
    ``operation`` is the error that the long-running operation ends with; ``hangs``: it never ends.
    """

    method: str
    path: str
    nth: int = 1
    last: int | None = None
    answer: Answer | None = None
    cuts: str = ""
    operation: Mapping[str, Any] | None = None
    hangs: bool = False
    seen: int = 0

    def hits(self, request: Request) -> bool:
        if request.method != self.method or not re.search(self.path, request.path, re.IGNORECASE):
            return False
        self.seen += 1
        return self.nth <= self.seen <= (self.nth if self.last is None else self.last)


@dataclass
class Plan:
    faults: list[Fault] = field(default_factory=list)

    def add(self, method: str, path: str, **told: Any) -> None:
        self.faults.append(Fault(method=method, path=path, **told))

    def of(self, request: Request) -> Fault | None:
        found = [fault for fault in self.faults if fault.hits(request)]
        return found[0] if found else None

    def before(self, fault: Fault | None) -> Answer | None:
        if fault is None:
            return None
        if fault.cuts == "before":
            raise CutError("reset before the request was read")
        return fault.answer


def throttled(seconds: int = 7) -> Answer:
    return Answer(
        status=429,
        body=error_body(
            "ResourceCollectionRequestsThrottled",
            f"Operation 'GET' failed as server encountered too many requests. Please try after '{seconds}' seconds.",
        ),
        headers={"Retry-After": str(seconds)},
    )
