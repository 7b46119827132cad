"""Two machines of a leg on their private links: addresses, commands in both, what runs in the background, cables.

The text of what runs in a machine is ``pairs.sh``; a word of it ends as a case does, so that a step is judged by the
word that failed. Nothing that was begun outlives the pair, and the cards are left as they were found.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files as resources
from itertools import islice
from typing import Final

from lisa_ci.figures import figure
from lisa_ci.model import Completed
from lisa_ci.protocols import Machine, Machines, SupportsLinks
from lisa_ci.scenarios.steps import Judged, failed, said, skipped

SHORT: Final = timedelta(seconds=60)
LEAVES: Final = timedelta(seconds=30)
STATE: Final = "/run/lisa-ci-pair"
MTU: Final = 1500
TEXT: Final = (resources("lisa_ci.scenarios") / "pairs.sh").read_text()
# $1 the folder; the text comes on stdin. What goes on in the background still reads the file that it began with.
_WORD: Final = """mkdir -p "$1" && cat >"$1/new.$$" && mv "$1/new.$$" "$1/words" || exit
folder=$1
shift
exec sh "$folder/words" "$@" </dev/null"""
_METRICS: Final = 50
_FAIL: Final = re.compile(rb"^FAIL: (.*)$", re.MULTILINE)
_SKIP: Final = re.compile(rb"^SKIP: (.*)$", re.MULTILINE)
_SKIPPED: Final = 77
_DETAIL: Final = 8000


class StepError(Exception):
    """A word that did not end well ends the step it is in."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(judged.message)
        self.judged = judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One link. ``client`` and ``server`` are the addresses of its NICs."""

    number: int
    client: str
    server: str

    def card(self, role: str) -> str:
        return self.client if role == "client" else self.server

    def ipv4(self, role: str) -> str:
        return f"10.213.{self.number}.{_HOST[role]}"

    def ipv6(self, role: str) -> str:
        return f"fd4c:4943:{self.number:x}::{_HOST[role]}"


_HOST: Final = {"client": 1, "server": 2}


class Pair:
    """The first two machines of a group, ``client`` and ``server``, with what joins them."""

    def __init__(self, group: SupportsLinks, client: Machine, server: Machine, *, text: str = TEXT) -> None:
        self.group = group
        self.machines: Mapping[str, Machine] = {"client": client, "server": server}
        ends = zip(group.links(client), group.links(server), strict=True)
        self.wires = tuple(Wire(number=n, client=one, server=other) for n, (one, other) in enumerate(ends, start=1))
        self._text = text

    # ---- commands --------------------------------------------------------------------------------------------------

    def run(self, role: str, *words: str, timeout: timedelta = SHORT) -> Completed:
        """A word of the text in one machine, whatever it ends with."""
        return self.machines[role].run(
            "sh", "-c", _WORD, "sh", STATE, *words, timeout=timeout, stdin=self._text.encode()
        )

    def do(self, role: str, *words: str, timeout: timedelta = SHORT) -> Completed:
        """The same; StepError where it does not end well."""
        done = self.run(role, *words, timeout=timeout)
        if done.exit != 0:
            raise StepError(judged(done, f"{role}: {' '.join(words)}"[:120]))
        return done

    def tell(self, role: str, *words: str, timeout: timedelta = SHORT) -> str:
        """What a word printed, without the space around it. StepError."""
        return self.do(role, *words, timeout=timeout).output.decode("utf-8", "replace").strip()

    @contextlib.contextmanager
    def serving(
        self, role: str, name: str, *words: str, limit: timedelta = timedelta(seconds=120), ended_by: str = "TERM"
    ) -> Iterator[None]:
        """A word that goes on in the background while the block runs, ``limit`` at most."""
        self.do(role, "begin", name, str(limit.seconds), *words)
        try:
            yield
        finally:
            self.run(role, "end", name, ended_by)

    # ---- links -----------------------------------------------------------------------------------------------------

    def set_up(self, wire: Wire, *, mtu: int = MTU, roles: Sequence[str] = ("client", "server")) -> None:
        """Addresses of both families on the ends of a link."""
        for role in roles:
            ends = (f"{wire.ipv4(role)}/24", f"{wire.ipv6(role)}/64")
            self.do(role, "set_up", wire.card(role), *ends, str(mtu), timeout=2 * SHORT)

    def cut(self, wire: Wire, *, up: bool = False) -> None:
        """Pull the cable; both ends see it."""
        for role, machine in self.machines.items():
            self.group.set_link(machine, wire.card(role), up=up)

    def mend(self, wire: Wire) -> None:
        self.cut(wire, up=True)

    def clear_up(self) -> None:
        for role in self.machines:
            self.run(role, "clear_up", *(wire.card(role) for wire in self.wires))


def find_pair(machines: Machines, *, text: str = TEXT) -> Pair | str:
    """The pair, or why there is none."""
    if not isinstance(machines, SupportsLinks):
        return "these machines have no private links that a scenario could cut"
    if len(machines.members) < 2:
        return "there is one machine only"
    pair = Pair(machines, *machines.members[:2], text=text)
    return pair if pair.wires else "no link joins the machines"


def judged(done: Completed, what: str) -> Judged:
    """A word's end as a step's. ``what`` names it where it says nothing itself."""
    output = done.output
    detail = output[-_DETAIL:].decode("utf-8", "replace")
    if done.is_timed_out:
        return failed(f"{what} did not end in time", detail)
    if done.exit == 0:
        return Judged(metrics=metrics_in(output))
    if done.exit == _SKIPPED and (reasons := _SKIP.findall(output)):
        return skipped(said(reasons[-1]))
    told = _FAIL.findall(output)
    return failed(said(told[-1]) if told else f"{what} ended with {done.exit}: {said(output)}", detail)


def metrics_in(output: bytes) -> Mapping[str, float]:
    """The figures among what was printed, 50 at most."""
    lines = output.decode("utf-8", "replace").split("\n")
    return dict(islice(filter(None, map(figure, lines)), _METRICS))


def guarded(take: Callable[[], Judged | Mapping[str, float] | None], tidy: Callable[[], None]) -> Callable[[], Judged]:
    """A step that ends where a word of it does; ``tidy`` comes behind it on every way. What it gives are figures."""

    def step() -> Judged:
        try:
            found = take()
        except StepError as error:
            return error.judged
        finally:
            with contextlib.suppress(StepError):
                tidy()
        return found if isinstance(found, Judged) else Judged(metrics=found or {})

    return step
