"""One machine from nothing to a login, and back to nothing."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from lisa_ci import image, ssh
from lisa_ci import kernel as kernels
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.kernel import Boot, Slots
from lisa_ci.model import Access, Image, Kernel, Lease, Profile, Subject, Timeouts, WayIn
from lisa_ci.platforms.qemu import acceleration, command_line, console_text, foreign_kernel, scratch, tpm
from lisa_ci.platforms.qemu.architecture import board
from lisa_ci.platforms.qemu.builder import Builder, Seat
from lisa_ci.platforms.qemu.guard import Guard
from lisa_ci.platforms.qemu.hot_add import HotAdd
from lisa_ci.platforms.qemu.hot_plug import HotPlug
from lisa_ci.platforms.qemu.life import Life
from lisa_ci.platforms.qemu.links import LinkCards
from lisa_ci.platforms.qemu.qmp import Qmp
from lisa_ci.platforms.qemu.snapshot import Snapshots
from lisa_ci.ssh.link import WrongKeyError

_LOOPBACK: Final = "127.0.0.1"
_FORWARD: Final = re.compile(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)")
_CONSOLE_POLL_SECONDS: Final = 0.25
_SHORT: Final = timedelta(seconds=60)

# $1 the name. Copies of one image would all have one.
_NAME: Final = (
    r"""echo "$1" >/proc/sys/kernel/hostname && echo "$1" >/etc/hostname && echo "127.0.1.1 $1" >>/etc/hosts"""
)
_UNNAMED: Final = "the machine takes no host name of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A machine that runs; ``id`` names it for a sweep."""

    id: str
    ssh: ssh.SshMachine
    qmp: Qmp
    guard: Guard
    life: Life
    snapshots: Snapshots
    hot_plug: HotPlug
    hot_add: HotAdd
    links: LinkCards


@contextmanager
def run_machine(
    profile: Profile,
    subject: Subject,
    path: Path,
    access: Access,
    lease: Lease,
    seat: Seat,
    *,
    timeouts: Timeouts,
    emit: Emit,
    begun: Callable[[Guard], None],
) -> Iterator[Member]:
    """A machine that answers over SSH. Leaving the block destroys it, or lets it go on where the lease says keep.

    ``path`` is what ``checked_image`` gave; ``begun`` hears of the machine's owner as soon as there is one.
    ProvisioningError says why there is none, with the last lines of its console where it came that far.
    """
    place = scratch.create(lease)
    with ExitStack() as stack:
        guard = _guarded(place, seat)
        ending = _Ending(guard, lease, emit)
        stack.callback(ending.end)
        qmp = Qmp(guard.qmp_socket)
        ending.qmp = qmp
        begun(guard)
        builder = Builder(profile, _image(subject), path, access, lease, guard.scratch.folder, seat=seat)
        boot = None if subject.kernel is None else _prepared(subject.kernel, builder)
        files = builder.files(boot.modules_disk if boot else None)
        life = Life(qmp, guard, files.console, boot=timeouts.boot, warn=lambda text: _warn(emit, lease, text))
        chosen = acceleration.acceleration_of(profile.arch, emit)
        arguments = command_line.arguments(
            board(profile.arch).emulator, profile, files, chosen, name=place.id, kernel=booted(boot) if boot else None
        )
        guard.start(
            command_line.with_taps(profile, arguments), beside=tpm.beside(guard.scratch.folder) if profile.tpm else ""
        )
        port = _port(qmp, guard)
        emit(
            Message(
                text=f"QEMU runs ({chosen.accelerator}, {profile.firmware}), SSH at {_LOOPBACK}:{port}",
                level=Level.DEBUG,
                place=lease.leg,
            )
        )
        machine = _log_in(builder, port, life, timeouts=timeouts, emit=emit)
        ending.machine = machine
        if seat.number:
            _give_name(machine, seat.role)
        if boot is not None:
            foreign_kernel.prove(machine, boot.identity)
            if boot.tree is not None:
                foreign_kernel.install_modules(machine, boot.tree, timeout=timeouts.boot)
        nodes = command_line.writable_nodes(profile, has_modules=files.modules is not None)
        snapshots = Snapshots(qmp, life, machine, profile, nodes=nodes, folder=guard.scratch.folder)
        yield Member(
            id=place.id,
            ssh=machine,
            qmp=qmp,
            guard=guard,
            life=life,
            snapshots=snapshots,
            hot_plug=HotPlug(qmp, profile, guard.scratch.folder),
            hot_add=HotAdd(qmp, profile, chosen.accelerator),
            links=LinkCards(qmp, profile, seat.number),
        )
        ending.keeps = lease.keep


def _prepared(kernel: Kernel, builder: Builder) -> Boot:
    slots = Slots(root=command_line.ROOT_SLOT, modules=command_line.MODULES_SLOT)
    return kernels.prepare(
        kernel,
        builder.subject,
        builder.path,
        builder.profile,
        builder.access,
        slots=slots,
        folder=builder.folder,
    )


def booted(boot: Boot) -> Kernel:
    """What QEMU's own loader is told of a kernel that is ready."""
    initrd = None if boot.initrd is None else str(boot.initrd)
    return Kernel(image=str(boot.image), initrd=initrd, command_line=boot.command_line)


def _guarded(place: scratch.Scratch, seat: Seat) -> Guard:
    with ExitStack() as on_failure:
        on_failure.callback(scratch.remove, place.folder, place.link)
        guard = Guard(place, pass_fds=seat.links)
        on_failure.pop_all()
        return guard


def _image(subject: Subject) -> Image:
    if subject.image is None:
        raise ProvisioningError("the qemu platform boots an image, and the pipeline has none", hint="write 'image:'")
    return subject.image


def checked_image(subject: Subject, emit: Emit) -> Path:
    """The image's file, looked at by QEMU's own tool: it must not reach out to other files of this host."""
    found = _image(subject)
    path = image.local_path(found, emit)
    size = image.virtual_size(path, found.format)
    if size > found.size_bytes:
        raise ProvisioningError(f"image {found.path} has {size} bytes, the plan says {found.size_bytes}; plan again")
    return path


def _give_name(machine: ssh.SshMachine, name: str) -> None:
    done = machine.run("sh", "-c", _NAME, "name", name, timeout=_SHORT)
    if done.exit != 0:
        raise ProvisioningError(f"{_UNNAMED}: {' '.join(done.output.decode(errors='replace').split())[-200:]}")


class _Ending:
    """How a machine ends: never raises, on every way out."""

    def __init__(self, guard: Guard, lease: Lease, emit: Emit) -> None:
        self._guard = guard
        self._lease = lease
        self._emit = emit
        self.qmp: Qmp | None = None
        self.machine: ssh.SshMachine | None = None
        self.keeps = False

    def end(self) -> None:
        place, started = self._lease.leg, time.monotonic()
        if self.machine is not None:
            self.machine.close()
        if self.keeps:
            until = self._lease.delete_after
            if self.qmp is not None:
                with suppress(ProvisioningError):  # it is gone already
                    self.qmp.execute("set-action", {"shutdown": "poweroff"})
            self._guard.keep(until - datetime.now(UTC))
            text, level = f"the machine goes on until {until:%Y-%m-%d %H:%M %Z}", Level.INFO
            is_gone = True
        else:
            is_gone = self._guard.end()
            text, level = f"machine destroyed in {time.monotonic() - started:.2f} s", Level.DEBUG
        if self.qmp is not None:
            self.qmp.close()
        if not is_gone:
            text, level = (
                f"{self._guard.scratch.folder} could not be removed; 'lisa-ci sweep' tries again",
                Level.WARNING,
            )
        self._emit(Message(text=text, level=level, place=place))


def _warn(emit: Emit, lease: Lease, text: str) -> None:
    emit(Message(text=text, level=Level.WARNING, place=lease.leg))


# ---- from power-on to login ----------------------------------------------------------------------------------------


def _port(qmp: Qmp, guard: Guard) -> int:
    """The host's port of the machine's SSH, told by QEMU: the kernel picked a free one."""
    try:
        qmp.connect()
        port = forwarded_port(qmp.monitor("info usernet"))
    except ProvisioningError as error:
        said = guard.last_error()
        raise ProvisioningError(
            f"QEMU did not start: {said or error.message}", hint=error.hint or start_hint(said)
        ) from error
    if port is None:
        raise ProvisioningError(
            "QEMU forwards no port to the machine's SSH", hint="run it again; a firewall may interfere"
        )
    return port


def forwarded_port(usernet: str) -> int | None:
    """The loopback port in the answer to HMP's ``info usernet``."""
    found = _FORWARD.search(usernet)
    return int(found[1]) if found else None


def start_hint(stderr: str) -> str:
    """What to do about the ways in which QEMU is known not to start."""
    match stderr:
        case text if "lock" in text:
            return "another program writes to the image; wait until its build has ended"
        case text if "llocate memory" in text or "set up guest memory" in text:
            return "give the profile less memory_mib, or run fewer machines at once"
        case text if "not a valid device" in text or "unknown" in text.lower():
            return "this version of QEMU is too old for the profile"
        case text if "ermission denied" in text:
            return "check who may read the image and its folders"
    return "'lisa-ci doctor' looks at this host"


def _log_in(builder: Builder, port: int, life: Life, *, timeouts: Timeouts, emit: Emit) -> ssh.SshMachine:
    deadline = time.monotonic() + timeouts.boot.total_seconds()
    try:
        try:
            return _connect(builder, port, life, builder.host_key.public, timeouts.boot, emit=emit)
        except ProvisioningError as error:
            # The context tells a wrong host key from the other reasons, for which there is no other key to try.
            if builder.access.way_in is not WayIn.KEY or not isinstance(error.__context__, WrongKeyError):
                raise
            return _connect(builder, port, life, _key_on_console(life, deadline), _left(deadline), emit=emit)
    except ProvisioningError as error:
        raise _explained(error, life.console) from error


def _left(deadline: float) -> timedelta:
    return timedelta(seconds=max(1, math.ceil(deadline - time.monotonic())))


def _connect(
    builder: Builder, port: int, life: Life, host_key: str, timeout: timedelta, *, emit: Emit
) -> ssh.SshMachine:
    access, leg = builder.access, builder.leg
    login = ssh.Login(
        host=_LOOPBACK, port=port, user=access.user, key=builder.key, host_key=host_key, become=access.become
    )
    return ssh.connect(
        login,
        timeout=timeout,
        vitals=ssh.Vitals(
            is_alive=life.death,
            comes_up=life.comes_up,
            opening=life.opening,
            logged_in=life.logged_in,
            grace=life.grace,
        ),
        name=builder.name,
        role=builder.seat.role,
        console=life.console,
        known_hosts=builder.known_hosts,
        note=lambda reason: emit(Message(text=f"waiting for SSH: {reason}", level=Level.DEBUG, place=leg)),
    )


def _key_on_console(life: Life, deadline: float) -> str:
    """The host key that cloud-init printed; the console is as good as ours. Waits, because it comes after sshd."""
    while True:
        found = console_text.host_key(console_text.read_tail(life.console))
        if found:
            return found
        death = life.death()
        if death or time.monotonic() > deadline:
            raise ProvisioningError(
                "the machine shows a host key of its own, which nothing vouches for: it took none from us, and none is "
                f"on its console{f' ({death.why})' if death else ''}",
                hint="use way_in: auto or offline, or let the image's cloud-init print its keys on the console",
            )
        time.sleep(_CONSOLE_POLL_SECONDS)


def _explained(error: ProvisioningError, console: Path) -> ProvisioningError:
    """With the last lines of the console: where a boot stopped says why."""
    lines = console_text.last_lines(console_text.read_tail(console))
    said = f"; last on its console: {' | '.join(lines)}" if lines else "; its console is empty"
    return ProvisioningError(f"{error.message}{said}", hint=error.hint or f"read {console}")
