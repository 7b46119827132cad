"""A machine that already runs, reached over SSH. It is not ours: nothing is created, nothing is destroyed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from lisa_ci.errors import PipelineError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.model import Access, Endpoint, Lease, Leftover, Profile, Subject, Timeouts
from lisa_ci.protocols import Machine
from lisa_ci.ssh import Login, connect, parse_host_key


class OneMachine:
    """A group of one; implements ``protocols.Machines``."""

    def __init__(self, machine: Machine) -> None:
        self.members: Sequence[Machine] = (machine,)

    def end_command(self) -> str:
        """Nothing of ours is left to end."""
        return ""


class SshPlatform:
    """Implements ``protocols.Platform``: ``profile.endpoint`` says where, ``access`` who logs in and with which key."""

    def problems(self, profile: Profile) -> Sequence[str]:
        """What the profile does not say; the machine itself is not asked."""
        endpoint = profile.endpoint
        if endpoint is None or not endpoint.host:
            return (f"profile {profile.name} does not say where its machine is: it needs endpoint: {{host, host_key}}",)
        found = []
        if not 0 < endpoint.port < 65536:
            found.append(f"endpoint of profile {profile.name}: there is no port {endpoint.port}")
        try:
            parse_host_key(endpoint.host_key, host=endpoint.host, port=endpoint.port)
        except PipelineError as error:
            found.append(f"endpoint of profile {profile.name}: {error.message}; {error.hint}")
        return found

    @contextlib.contextmanager
    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> Iterator[OneMachine]:
        """The machine, logged in to. A refused key is an error at once: this machine is not booting."""
        del subject  # a machine that already runs has its own disk; the plan says so by a subject without one
        problems = self.problems(profile)
        if problems or profile.endpoint is None:
            raise PipelineError("; ".join(problems))
        known_hosts = lease.scratch / "known_hosts"
        machine = connect(
            _login(profile.endpoint, access),
            timeout=timeouts.boot,
            name=profile.name,
            known_hosts=known_hosts,
            retries_refusal=False,
            note=lambda why: emit(Message(text=f"still waiting for the machine: {why}", place=lease.leg)),
        )
        emit(Message(text=f"logged in at {machine.login.address}", level=Level.DEBUG, place=lease.leg))
        try:
            yield OneMachine(machine)
        finally:
            machine.close()
            if not lease.keep:
                with contextlib.suppress(OSError):
                    known_hosts.unlink()

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        """Nothing: this platform creates nothing."""
        del now
        return ()


def _login(endpoint: Endpoint, access: Access) -> Login:
    if access.key is None:
        raise PipelineError(
            f"no private key for {access.user}@{endpoint.host}",
            hint="a machine that already runs needs access: {user, key: PATH} with a key that it accepts",
        )
    return Login(
        host=endpoint.host,
        port=endpoint.port,
        user=access.user,
        key=Path(access.key),
        host_key=endpoint.host_key,
        become=access.become,
    )
