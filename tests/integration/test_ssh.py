"""Against Debian's real sshd and ssh."""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError, PipelineError, ProvisioningError
from lisa_ci.events import Event
from lisa_ci.model import Access, Become, Endpoint, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.ssh import SshPlatform
from lisa_ci.ssh import Login, SshMachine, WrongHostKeyError, connect, make_key, parse_host_key
from tests.doubles.openssh import sshd

SOON = timedelta(seconds=30)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    with sshd(tmp_path_factory.mktemp("sshd")) as login:
        yield login


@pytest.fixture(scope="module")
def machine(login: Login) -> Iterator[SshMachine]:
    with contextlib.closing(connect(login, timeout=SOON)) as machine:
        yield machine


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=8))
def test_any_words_arrive_through_the_real_shells(machine: SshMachine, words: list[str]) -> None:
    completed = machine.run("printf", "%s\\0", *words, timeout=SOON)
    expected = words or [""]
    assert completed.output.decode().split("\0")[:-1] == expected


def test_the_login_command_for_people_works_and_pins_the_key(machine: SshMachine, login: Login) -> None:
    command = [*shlex.split(machine.login_command()), "echo", "entered"]
    entered = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert entered.stdout == b"entered\n"
    known_hosts = login.key.with_name("client.known_hosts")
    known_hosts.write_text(known_hosts.read_text().replace(login.host_key, make_key(login.key.parent, "fake").public))
    refused = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert refused.returncode == 255
    assert b"Host key verification failed" in refused.stderr


def test_fingerprints_are_those_that_ssh_keygen_shows(login: Login) -> None:
    host = login.key.with_name("host.pub")
    shown = subprocess.run(["ssh-keygen", "-lf", host], capture_output=True, timeout=30, check=True).stdout.decode()
    assert parse_host_key(login.host_key).fingerprint in shown


@pytest.mark.parametrize(("kind", "bits"), [("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "521")])
def test_other_host_key_types_can_be_pinned_and_only_they_are_taken(tmp_path: Path, kind: str, bits: str) -> None:
    extra = tmp_path / "extra"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", extra], check=True, timeout=60)
    with sshd(tmp_path, options=(f"HostKey {extra}",)) as login:
        pinned = extra.with_suffix(".pub").read_text()
        other = Login(host=login.host, port=login.port, user=login.user, key=login.key, host_key=pinned)
        with contextlib.closing(connect(other, timeout=SOON)) as machine:
            assert machine.run("true", timeout=SOON).exit == 0


def test_a_server_without_a_key_of_the_pinned_type_is_refused(tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", extra], check=True, timeout=60)
    with sshd(tmp_path) as login:
        pinned = extra.with_suffix(".pub").read_text()
        other = Login(host=login.host, port=login.port, user=login.user, key=login.key, host_key=pinned)
        with pytest.raises(ProvisioningError, match="no login at"):
            connect(other, timeout=SOON, retries_refusal=False)


@pytest.mark.parametrize(("kind", "form"), [("rsa", "PEM"), ("rsa", "RFC4716"), ("ecdsa", "PEM")])
def test_a_users_key_may_be_of_other_types_and_forms(tmp_path: Path, kind: str, form: str) -> None:
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-m", form, "-N", "", "-f", own], check=True, timeout=60)
    with sshd(tmp_path) as login:
        (tmp_path / "authorized").write_text(own.with_suffix(".pub").read_text())
        other = Login(host=login.host, port=login.port, user=login.user, key=own, host_key=login.host_key)
        with contextlib.closing(connect(other, timeout=SOON)) as machine:
            assert machine.run("true", timeout=SOON).exit == 0


def test_a_key_with_a_passphrase_is_refused_by_its_name(login: Login, tmp_path: Path) -> None:
    own = tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", own], check=True, timeout=60)
    locked = Login(host=login.host, port=login.port, user=login.user, key=own, host_key=login.host_key)
    with pytest.raises(PipelineError, match="own"):
        connect(locked, timeout=SOON)


def test_sudo_gives_roots_rights_and_its_command_ends_at_a_timeout(tmp_path: Path) -> None:
    with sshd(tmp_path, become=Become.SUDO) as login, contextlib.closing(connect(login, timeout=SOON)) as machine:
        assert machine.run("id", "-u", timeout=SOON).output == b"0\n"
        assert machine.run("sh", "-c", "exit 3", timeout=SOON).exit == 3
        assert machine.run("printf", "%s", "a\n'b' $HOME", timeout=SOON).output == b"a\n'b' $HOME"
        late = machine.run("sh", "-c", f"sleep 2; touch {tmp_path}/late", timeout=timedelta(seconds=0.5))
        assert late.is_timed_out
        time.sleep(2)
        assert not (tmp_path / "late").exists()


def test_a_server_that_is_only_starting_is_waited_for(tmp_path: Path) -> None:
    # sshd() does not wait for its server, so the first tries are refused.
    with sshd(tmp_path) as login, contextlib.closing(connect(login, timeout=SOON)) as machine:
        assert machine.is_connected


def test_a_session_that_is_killed_is_a_lost_machine(login: Login) -> None:
    with contextlib.closing(connect(login, timeout=SOON)) as machine:
        # The parent of the login shell is the sshd process of this connection.
        parent = machine.run("sh", "-c", "echo $PPID", timeout=SOON).output
        os.kill(int(parent), 9)
        with pytest.raises(MachineLostError):
            machine.run("sleep", "5", timeout=SOON)


def test_the_boot_id_is_the_kernels(machine: SshMachine) -> None:
    assert machine.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_many_commands_one_after_another_leave_no_channel_open(machine: SshMachine) -> None:
    # sshd allows 10 sessions on one connection: an eleventh that is open at the same time is refused.
    assert [machine.run("true", timeout=SOON).exit for _ in range(25)] == [0] * 25


def test_an_echo_over_a_channel_takes_little_time(machine: SshMachine) -> None:
    walls = []
    with machine.channel("cat") as channel:
        for _ in range(200):
            started = time.perf_counter()
            channel.send(b"frame\n")
            assert channel.receive(100, SOON) == b"frame\n"
            walls.append(time.perf_counter() - started)
    # 0.3 ms here; with Nagle's algorithm and delayed acknowledgements it would be 40 ms.
    assert statistics.median(walls) < 0.02


def test_files_of_many_megabytes_pass(machine: SshMachine, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 63)
    machine.put(tmp_path / "big", PurePosixPath(f"{tmp_path}/there/big"))
    machine.get(PurePosixPath(f"{tmp_path}/there/big"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


def test_keys_are_renewed_in_the_middle_of_a_transfer(tmp_path: Path) -> None:
    with (
        sshd(tmp_path, options=("RekeyLimit 1M",)) as login,
        contextlib.closing(connect(login, timeout=SOON)) as machine,
    ):
        (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 20)
        machine.put(tmp_path / "big", PurePosixPath(f"{tmp_path}/there/big"))
        machine.get(PurePosixPath(f"{tmp_path}/there/big"), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()


def test_we_never_begin_a_renewal_of_keys(login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(paramiko.Packetizer, "REKEY_BYTES", 1 << 20)  # what paramiko alone would go by
    monkeypatch.setattr(paramiko.Packetizer, "_trigger_rekey", begun.append)
    with contextlib.closing(connect(login, timeout=SOON)) as machine:
        (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 20)
        machine.put(tmp_path / "big", PurePosixPath(f"{tmp_path}/there/big"))
        machine.get(PurePosixPath(f"{tmp_path}/there/big"), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    assert not begun


# ---- the platform --------------------------------------------------------------------------------------------------


def _lease(folder: Path, *, keep: bool = False) -> Lease:
    after = datetime.now(UTC) + timedelta(hours=1)
    return Lease(owner="test", leg="lab", attempt=1, delete_after=after, evidence=folder, scratch=folder, keep=keep)


def _lab(login: Login) -> tuple[Profile, Access]:
    endpoint = Endpoint(host=login.host, port=login.port, host_key=login.host_key)
    return (
        Profile(name="lab", platform="ssh", endpoint=endpoint),
        Access(user=getpass.getuser(), key=str(login.key)),
    )


def test_the_platform_gives_one_machine_and_leaves_nothing(login: Login, tmp_path: Path) -> None:
    profile, access = _lab(login)
    events: list[Event] = []
    platform = SshPlatform()
    with platform.provision(
        profile, Subject(), access, _lease(tmp_path), timeouts=Timeouts(), emit=events.append
    ) as group:
        (machine,) = group.members
        assert machine.name == "lab"
        assert machine.run("echo", "hi", timeout=SOON).output == b"hi\n"
        assert str(tmp_path / "known_hosts") in machine.login_command()
        assert group.end_command() == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MachineLostError, match="not connected"):
        machine.run("true", timeout=SOON)
    assert events


def test_a_kept_machine_can_still_be_entered(login: Login, tmp_path: Path) -> None:
    profile, access = _lab(login)
    with SshPlatform().provision(
        profile, Subject(), access, _lease(tmp_path, keep=True), timeouts=Timeouts(), emit=lambda _: None
    ) as group:
        command = group.members[0].login_command()
    assert subprocess.run([*shlex.split(command), "true"], timeout=30, check=False).returncode == 0


def test_the_platform_refuses_another_machine(login: Login, tmp_path: Path) -> None:
    profile, access = _lab(login)
    blob = base64.b64decode(login.host_key.split()[1])
    changed = base64.b64encode(blob[:-1] + bytes([blob[-1] ^ 1])).decode()
    endpoint = Endpoint(host=login.host, port=login.port, host_key=f"ssh-ed25519 {changed}")
    other = Profile(name=profile.name, platform="ssh", endpoint=endpoint)
    group = SshPlatform().provision(
        other, Subject(), access, _lease(tmp_path), timeouts=Timeouts(), emit=lambda _: None
    )
    with pytest.raises(WrongHostKeyError, match="is not the machine it should be"), group:
        pass
