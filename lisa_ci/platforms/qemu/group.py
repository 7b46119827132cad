"""The machines of one leg, from power-on to the last login and back: started at once, ended together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial

from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Access, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import acceleration, links
from lisa_ci.platforms.qemu.builder import Seat
from lisa_ci.platforms.qemu.guard import Guard
from lisa_ci.platforms.qemu.machine import Member, checked_image, run_machine


def roles(machines: int) -> tuple[str, ...]:
    """``main`` for a machine of its own; else ``client``, where cases run, ``server``, ``server2`` and so on."""
    if machines == 1:
        return ("main",)
    return ("client", "server", *(f"server{number}" for number in range(2, machines)))


@contextmanager
def run_machines(
    profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
) -> Iterator[tuple[Member, ...]]:
    """All machines of the profile, in the order of their roles. Where one does not come up, none stays.

    Each is booted by a thread of its own; what owns a machine is its guard, a process, so no thread's end ends one.
    """
    path = checked_image(subject, emit)
    if profile.machines > 1:
        acceleration.acceleration_of(profile.arch, emit)  # tried once, and remembered
    starting = _Starting()
    with ExitStack() as all_of_them:
        starts: list[Callable[[], Member]] = []
        with links.sockets(profile) as ends:
            for number, role in enumerate(roles(profile.machines)):
                mine = ends[number] if number < len(ends) else ()
                seat = Seat(role=role, number=number, links=tuple(end.fileno() for end in mine))
                run = run_machine(
                    profile, subject, path, access, lease, seat, timeouts=timeouts, emit=emit, begun=starting.joins
                )
                starts.append(partial(all_of_them.enter_context(ExitStack()).enter_context, run))
            members = (starts[0](),) if len(starts) == 1 else starting.together(starts)
        yield tuple(members)


class _Starting:
    """Machines that boot at the same time: the first failure, or an interrupt, ends all of them at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guards: list[Guard] = []
        self._is_over = False

    def joins(self, guard: Guard) -> None:
        """A machine has an owner from now on. ProvisioningError where it comes too late."""
        with self._lock:
            if self._is_over:
                raise ProvisioningError("another machine of the group did not come up")
            self._guards.append(guard)

    def together(self, starts: Sequence[Callable[[], Member]]) -> Sequence[Member]:
        with ThreadPoolExecutor(len(starts), thread_name_prefix="boot") as pool, ExitStack() as unless_all_are_up:
            unless_all_are_up.callback(self._end)
            members = _results([pool.submit(start) for start in starts])
            unless_all_are_up.pop_all()
        return members

    def _end(self) -> None:
        """Without its QEMU a boot that is waited for fails within a second."""
        with self._lock:
            self._is_over = True
            guards = tuple(self._guards)
        for guard in guards:
            guard.end()


def _results(futures: Sequence[Future[Member]]) -> Sequence[Member]:
    """All, or the error of the first that has one."""
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        if future.done():
            future.result()
    return [future.result() for future in futures]
