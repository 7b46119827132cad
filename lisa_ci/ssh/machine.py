"""A machine behind SSH, and how to come to it."""

from __future__ import annotations

import contextlib
import io
import shlex
import socket
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

import paramiko

from lisa_ci.errors import Loss, MachineLostError, PipelineError, ProvisioningError
from lisa_ci.model import Become, Completed, Death
from lisa_ci.ssh.keys import Login, load_key, parse_host_key
from lisa_ci.ssh.knock import Knocker
from lisa_ci.ssh.link import Link, RefusedError, WrongKeyError
from lisa_ci.ssh.session import TROUBLES, InputClosedError, Session
from lisa_ci.ssh.tree import content, pack
from lisa_ci.ssh.vitals import Vitals
from lisa_ci.ssh.words import END, GET, PUT, PUT_TREE, REBOOT, RUN, Capped, Marked, command_line, sentence

MAX_OUTPUT: Final = 1024 * 1024
MAX_GET: Final = 64 * 1024 * 1024
_BLOCK: Final = 256 * 1024
_HANDSHAKE: Final = 30.0  # seconds; emulated machines need several for the key exchange
_PAUSE: Final = 0.5  # seconds between two logins that the server refused
_SILENCE_GOING_DOWN: Final = 5.0  # seconds; whoever answers after that is asked for its boot id anyway
_PROBE: Final = timedelta(seconds=60)
_NOTICED: Final = timedelta(seconds=1)
_SIGNAL: Final = 128  # the exit of a command that a signal ended is this and the signal's number

Note = Callable[[str], None]


class WrongHostKeyError(ProvisioningError):
    """Another machine than the pinned one answered (or one that never took the key it was given)."""


def connect(
    login: Login,
    *,
    timeout: timedelta,
    vitals: Vitals | None = None,
    name: str = "machine",
    role: str = "main",
    console: Path | None = None,
    known_hosts: Path | None = None,
    silence: timedelta = timedelta(seconds=30),
    transfer: timedelta = timedelta(minutes=10),
    retries_refusal: bool = True,
    note: Note | None = None,
) -> SshMachine:
    """Log in as soon as the machine lets us, and prove that a command runs with root's rights.

    ``vitals`` is what the platform knows of the machine. ``retries_refusal``: sshd of a booting machine may be up
    before our key is there. ``note`` hears each new reason for waiting. ``silence``: how long a machine may not answer
    before it is lost; ``transfer``: the longest put or get. ``known_hosts`` is written by ``login_command``.
    Raises ProvisioningError, at once for a dead machine or a wrong host key (WrongHostKeyError), and PipelineError for
    an unusable login.
    """
    machine = SshMachine(
        login,
        vitals=vitals,
        name=name,
        role=role,
        console=console,
        known_hosts=known_hosts,
        silence=silence,
        transfer=transfer,
        note=note,
    )
    machine.reconnect(timeout=timeout, retries_refusal=retries_refusal)
    return machine


class SshMachine:
    """A machine behind SSH; implements ``protocols.Machine``. Made by ``connect``."""

    def __init__(
        self,
        login: Login,
        *,
        vitals: Vitals | None,
        name: str,
        role: str,
        console: Path | None,
        known_hosts: Path | None,
        silence: timedelta,
        transfer: timedelta,
        note: Note | None,
    ) -> None:
        self.login = login
        self.name = name
        self.role = role
        self._host_key = parse_host_key(login.host_key, host=login.host, port=login.port)
        self._key = load_key(login.key)
        self._vitals = vitals or Vitals()
        self._has_vitals = vitals is not None
        self._console = console
        self._known_hosts = known_hosts or login.key.with_name(f"{login.key.name}.known_hosts")
        self._silence = silence.total_seconds()
        self._transfer = transfer.total_seconds()
        self._note = note or (lambda _: None)
        self._link: Link | None = None
        self._is_proven = False

    # ---- coming and going ------------------------------------------------------------------------------------------

    def reconnect(self, *, timeout: timedelta, retries_refusal: bool = True) -> None:
        """A new connection in place of the old one (after a crash, a restore, a reboot). Raises as ``connect``."""
        self.close()
        self._vitals.comes_up()
        deadline = time.monotonic() + timeout.total_seconds()
        try:
            knocker = Knocker(self.login.host, self.login.port)
        except (socket.gaierror, UnicodeError) as error:
            raise ProvisioningError(f"{self.name}: no address for {self.login.host!r:.200}: {error}") from error
        reason = ""
        while True:
            try:
                self._log_in(knocker, deadline)
            except TimeoutError:
                reason = reason or knocker.reason
                break
            except RefusedError:
                reason = f"it refuses user {self.login.user} with our key {self.login.key}"
                if not retries_refusal:
                    break
            except (paramiko.SSHException, EOFError, MachineLostError, OSError) as error:
                reason = str(error) or "the connection was closed during the login"
                if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and not retries_refusal:
                    break
            else:
                return
            if time.monotonic() + _PAUSE >= deadline:
                break
            self._note(reason)
            time.sleep(_PAUSE)
        hint = (
            "put the public half of the key into that user's authorized_keys" if reason.startswith("it refuses") else ""
        )
        spent = f" within {timeout.total_seconds():g} s" if retries_refusal else ""
        raise ProvisioningError(f"{self.name}: no login at {self.login.address}{spent}: {reason}", hint=hint)

    def _log_in(self, knocker: Knocker, deadline: float) -> None:
        sock, first = knocker.wait(deadline, self._check)
        link = Link(sock, first=first, silence=self._silence, is_alive=self._vitals.is_alive)
        try:
            limit = min(_HANDSHAKE, max(1.0, deadline - time.monotonic()))
            link.log_in(self.login.user, self._key, self._host_key, limit=limit)
            self._link = link
            self._prove(timedelta(seconds=max(1.0, deadline - time.monotonic())))
        except WrongKeyError as error:
            raise WrongHostKeyError(
                f"{self.name}: {self.login.address} is not the machine it should be: "
                f"its host key is {error}, pinned is {self._host_key.fingerprint}",
                hint="either the pinned key is old, or somebody is in between; the connection was not used",
            ) from None
        finally:
            if self._link is not link or not link.is_active():
                link.close()

    def _prove(self, left: timedelta) -> None:
        with contextlib.ExitStack() as unless_proven:
            unless_proven.callback(self.close)
            limit = min(left, _PROBE)
            command, stdin = self._vitals.opening()
            completed = self._run(command, timeout=limit, stdin=stdin)
            if completed.exit != 0:
                raise self._lost(f"it lets us in, but does not run a command within {limit.total_seconds():.0f} s")
            self._vitals.logged_in(completed.output)
            unless_proven.pop_all()
        self._is_proven = True

    def _check(self) -> None:
        death = self._vitals.is_alive()
        if death is not None:
            raise ProvisioningError(f"{self.name}: the machine died before it could be used: {death.why}")

    def close(self) -> None:
        """End the connection. The machine itself is not touched. Idempotent."""
        link, self._link = self._link, None
        self._is_proven = False
        if link is not None:
            link.close()

    @property
    def is_connected(self) -> bool:
        return self._link is not None and self._link.is_active()

    def _lost(self, why: str) -> MachineLostError:
        link = self._link
        death = self._vitals.is_alive() or self._fate()
        if death is not None:
            return MachineLostError(f"{self.name} at {self.login.address} is lost: {death.why}", loss=death.loss)
        said = (link.why_lost if link else "") or why
        loss = Loss.SILENCE if link is not None and link.packetizer.is_silent else Loss.CONNECTION
        return MachineLostError(f"{self.name} at {self.login.address} is lost: {said}", loss=loss)

    def _fate(self) -> Death | None:
        """Why the connection is gone, as the platform tells soon after; None where only the connection is.

        A system that goes down, and a crash kernel that saves the memory of its predecessor, need their time. The
        waiting ends at once where SSH answers.
        """
        link = self._link
        if link is None or not (self._has_vitals and self._is_proven):
            return None
        link.join(_NOTICED.total_seconds())  # who writes may see the end before the thread that reads has
        if link.is_active():
            return None
        self._is_proven = False  # asked once for each connection
        limit = self._vitals.grace() if link.packetizer.is_silent else self._vitals.farewell
        found: list[Death] = []

        def check() -> None:
            death = self._vitals.is_alive()
            if death is not None:
                found.append(death)
                raise OSError(death.why)

        with contextlib.suppress(OSError):  # TimeoutError is one
            sock, _ = Knocker(self.login.host, self.login.port).wait(time.monotonic() + limit.total_seconds(), check)
            sock.close()
            check()
        return found[0] if found else None

    # ---- commands --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self, arguments: tuple[str, ...]) -> Iterator[Session]:
        link = self._link
        if link is None:
            raise MachineLostError(f"{self.name} at {self.login.address} is lost: not connected")
        line = command_line(arguments, self.login.become)
        try:
            channel = link.execute(line, limit=self._silence)
        except TROUBLES as error:
            raise self._lost(str(error)) from error
        session = Session(link, channel, lost=self._lost, patience=self._silence)
        try:
            yield session
        finally:
            session.close()

    def channel(self, *command: str) -> contextlib.AbstractContextManager[Session]:
        """A running command, bytes both ways. Leaving the block closes the channel (the command reads end of file)."""
        return self._open(command)

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        """Run to its end; stdout and stderr as they came, capped at 1 MiB. MachineLostError when nothing answers.

        After ``timeout`` the command's process group is killed and ``exit`` is None.
        """
        return self._run(command, timeout=timeout, stdin=stdin)

    def _run(self, command: tuple[str, ...], *, timeout: timedelta, stdin: bytes = b"") -> Completed:
        started = time.monotonic()
        output = Capped(MAX_OUTPUT)
        marked = Marked(output.append)
        with self._open(("sh", "-c", RUN, "sh", *command)) as session:
            code = session.rest(started + timeout.total_seconds(), marked, stdin)
            said = session.errors() or marked.noise
        if code is None and marked.group:
            self._end(marked.group)
        if code is not None and marked.group is None:
            raise self._no_way(said, code) if code < _SIGNAL else self._lost(f"a command was killed (exit {code})")
        return Completed(
            exit=code,
            output=output.kept,
            head_bytes=output.head_bytes,
            dropped_bytes=output.dropped_bytes,
            is_timed_out=code is None,
            wall=timedelta(seconds=time.monotonic() - started),
        )

    def _end(self, group: int) -> None:
        # Best effort: a machine that cannot even do this shows as lost at the next command.
        with contextlib.suppress(MachineLostError), self._open(("sh", "-c", END, "sh", str(group))) as session:
            session.rest(time.monotonic() + 10, lambda _: None)

    def _no_way(self, text: bytes, code: int) -> ProvisioningError:
        said = sentence(text) or f"exit {code}"
        if self.login.become is Become.SUDO:
            return ProvisioningError(
                f"{self.name}: user {self.login.user} cannot become root by sudo: {said}",
                hint=f"allow it without a password: '{self.login.user} ALL=(ALL) NOPASSWD: ALL' in /etc/sudoers.d/",
            )
        return ProvisioningError(
            f"{self.name}: user {self.login.user} cannot run a command: {said}",
            hint="the login shell must be a POSIX shell (sh, dash, bash, ash, zsh), without a forced command",
        )

    # ---- files -----------------------------------------------------------------------------------------------------

    def put(self, source: Path, target: PurePosixPath) -> None:
        """Copy one file into the machine, byte for byte, executable bit kept; its folder is made. All or nothing."""
        if not source.is_file():
            raise PipelineError(f"cannot copy {source}: there is no such file")
        with _reading(source), source.open("rb") as file:
            facts = source.stat()
            mode = "755" if facts.st_mode & stat.S_IXUSR else "644"
            command = ("sh", "-c", PUT, "sh", str(target), str(facts.st_size), mode)
            self._feed(command, lambda session: _pour(file, session.send), f"copy {source} to {target}")

    def put_tree(self, folder: Path, target: PurePosixPath) -> None:
        """Copy a folder's content below ``target`` in one stream (needs tar there): files, folders, symbolic links."""
        with _reading(folder):
            paths = content(folder)
            command = ("sh", "-c", PUT_TREE, "sh", str(target))
            self._feed(command, lambda session: pack(folder, paths, session.send), f"copy {folder} to {target}")

    def _feed(self, command: tuple[str, ...], send: Callable[[Session], None], what: str) -> None:
        with self._open(command) as session:
            # Why a command stopped to read is in its errors.
            with contextlib.suppress(InputClosedError):
                send(session)
            code = session.rest(time.monotonic() + self._transfer, lambda _: None, is_whole=True)
            if code != 0:
                raise self._failed(what, code, session.errors())

    def get(self, source: PurePosixPath, target: Path) -> None:
        """Copy one file out of the machine, 64 MiB at most; ``target`` appears whole or not at all."""
        what = f"fetch {source}"
        part = target.with_name(f"{target.name}.part")
        size = 0
        try:
            with part.open("wb") as file, self._open(("sh", "-c", GET, "sh", str(source))) as session:

                def take(data: bytes) -> None:
                    nonlocal size
                    size += len(data)
                    if size > MAX_GET:
                        raise ProvisioningError(f"{self.name}: cannot {what}: larger than {MAX_GET >> 20} MiB")
                    file.write(data)

                code = session.rest(time.monotonic() + self._transfer, Marked(take), is_whole=True)
                if code != 0:
                    raise self._failed(what, code, session.errors())
            part.replace(target)
        except OSError as error:
            raise ProvisioningError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def _failed(self, what: str, code: int | None, errors: bytes) -> ProvisioningError:
        said = f"it took longer than {self._transfer:g} s" if code is None else sentence(errors) or f"exit {code}"
        return ProvisioningError(f"{self.name}: cannot {what}: {said}")

    # ---- the machine as a whole ------------------------------------------------------------------------------------

    def boot_id(self) -> str:
        """Changes with every boot."""
        completed = self._run(("cat", "/proc/sys/kernel/random/boot_id"), timeout=_PROBE)
        if completed.exit != 0:
            raise MachineLostError(f"{self.name}: cannot read the boot id: {sentence(completed.output)}")
        return completed.output.decode("ascii", "replace").strip()

    def reboot(self, *, timeout: timedelta) -> None:
        """Ask for a reboot and come back connected to the new boot, or MachineLostError."""
        deadline = time.monotonic() + timeout.total_seconds()
        before = self.boot_id()
        self._ask_for_reboot(deadline)
        while time.monotonic() < deadline:
            try:
                self.reconnect(timeout=timedelta(seconds=max(1.0, deadline - time.monotonic())))
                if self.boot_id() != before:
                    return
            except MachineLostError:
                pass  # a login of the old boot that was cut off
            except ProvisioningError as error:
                death = self._vitals.is_alive()
                loss = death.loss if death else Loss.SILENCE
                raise MachineLostError(f"{error.message} (after a reboot)", hint=error.hint, loss=loss) from error
            time.sleep(_PAUSE)
        self.close()
        raise MachineLostError(
            f"{self.name} did not come back from a reboot within {timeout.total_seconds():g} s", loss=Loss.SILENCE
        )

    def _ask_for_reboot(self, deadline: float) -> None:
        """Returns when the connection is gone."""
        link = self._link
        with contextlib.suppress(MachineLostError):
            completed = self._run(("sh", "-c", REBOOT), timeout=_PROBE)
            if completed.exit not in {0, None} and completed.exit < 128:
                raise ProvisioningError(f"{self.name}: cannot ask for a reboot: {sentence(completed.output)}")
        if link is not None:
            # Some systems take the network away before they end sshd: then no packet says that the connection is over.
            link.packetizer.silence = min(link.packetizer.silence, _SILENCE_GOING_DOWN)
            link.join(max(0.0, deadline - time.monotonic()))
            if link.is_alive():
                raise MachineLostError(f"{self.name} did not go down for a reboot")

    def console(self, since: int = 0) -> Iterator[bytes]:
        """What the console printed from byte ``since`` on; still answers after the machine is gone."""
        if self._console is None or not self._console.exists():
            return
        with self._console.open("rb") as file:
            file.seek(since)
            while block := file.read(_BLOCK):
                yield block

    def login_command(self) -> str:
        """The ssh command for a person, with the host key pinned; writes the known_hosts file it names."""
        login = self.login
        place = login.host if login.port == 22 else f"[{login.host}]:{login.port}"
        self._known_hosts.write_text(f"{place} {self._host_key}\n", encoding="utf-8")
        options = {
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self._known_hosts.absolute()),
            "StrictHostKeyChecking": "yes",
            "HostKeyAlgorithms": ",".join(self._host_key.algorithms),
        }
        words = ["ssh", "-F", "none", "-i", str(login.key.absolute()), "-p", str(login.port)]
        words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        # "-l" and "--": neither a user nor a host can be taken for an option.
        root = ("sudo", "-i") if login.become is Become.SUDO else ()
        return shlex.join([*words, *(("-t",) if root else ()), "-l", login.user, "--", login.host, *root])


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(f"cannot read {error.filename or source}: {error.strerror or error}") from error


def _pour(file: io.BufferedReader, send: Callable[[bytes], None]) -> None:
    while block := file.read(_BLOCK):
        send(block)
