"""What is known of a machine beside its connection: the platform's view, which the connection asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from lisa_ci.model import Death

Alive = Callable[[], Death | None]


def _nothing_known() -> None:
    return None


def _opening() -> tuple[tuple[str, ...], bytes]:
    return ("true",), b""


def _no_grace() -> timedelta:
    return timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """A platform's view of one machine. All are called from several threads, and none may take long.

    ``is_alive`` tells why the machine is dead, or None; it is asked about once a second while nothing comes.
    ``comes_up`` hears that a login is waited for: what happened before no longer counts, and a reset is no death.
    ``opening`` gives the first command of every login (with root's rights; it must exit with 0) and its stdin; it
    proves the login. ``logged_in`` hears what it printed. ``grace`` is how long a machine that fell silent may still
    take to tell why, before it is lost; ``farewell``, how long one may that ended the connection: a system that goes
    down ends its connections some seconds before itself.
    """

    is_alive: Alive = _nothing_known
    comes_up: Callable[[], None] = _nothing_known
    opening: Callable[[], tuple[tuple[str, ...], bytes]] = _opening
    logged_in: Callable[[bytes], None] = lambda _: None
    grace: Callable[[], timedelta] = _no_grace
    farewell: timedelta = timedelta(seconds=10)
