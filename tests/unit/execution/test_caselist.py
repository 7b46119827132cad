from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.execution.caselist import Planned, case_list, environment
from lisa_ci.model import Bus, Case, Command, Disk, Endpoint, Leg, Nic, Profile, Risk


def planned(case: str = "a", *, risk: Risk = Risk.NONE, suite: str = "boot", **command: object) -> Planned:
    arguments = command.pop("arguments", ("sh", "-c", "true"))
    return Planned(
        case=Case(suite=suite, id=case, risk=risk),
        command=Command(arguments=arguments, **command),  # type: ignore[arg-type]
        timeout=timedelta(seconds=1.5),
        folder="/var/tmp/it's here",
        environment={"GREETING": "hello 'you'"},
    )


def words(text: bytes, start: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.decode().splitlines() if line.startswith(start)]


def test_a_case_is_one_call_with_everything_quoted() -> None:
    text = case_list([planned(arguments=("echo", "a b", "$HOME", "it's\n"), environment={"X": "1 2"})], {})
    assert shlex.split(text.decode().split("\n", 1)[1])[0:8] == [
        "lisa_case",
        "1",
        "boot#a",
        "150",
        "16",
        "0",
        "lisa_suite_1",
        "1",
    ]
    assert shlex.split(text.decode().split("\n", 1)[1])[8:] == ["X=1 2", "echo", "a b", "$HOME", "it's\n"]


def test_the_suites_folder_and_environment_are_written_once() -> None:
    text = case_list([planned("a"), planned("b"), planned("c", suite="other")], {"LISA_CI_CORES": "2"})
    assert len(words(text, "lisa_suite_")) == 2
    assert words(text, "export") == [["export", "LISA_CI_CORES=2"]]
    assert [line[6] for line in words(text, "lisa_case")] == ["lisa_suite_1", "lisa_suite_1", "lisa_suite_2"]


def test_nothing_runs_ahead_of_a_case_that_may_crash_the_machine() -> None:
    text = case_list([planned("a"), planned("b", risk=Risk.CRASH), planned("c")], {})
    assert [line[4] for line in words(text, "lisa_case")] == ["16", "1", "16"]


def test_a_command_may_have_a_folder_of_its_own() -> None:
    text = case_list([planned(directory="/etc")], {})
    assert words(text, "lisa_case")[0][8:] == [
        "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", "/etc", "sh", "-c", "true",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "A-B", "1A", "A B", "A=B", "É"])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="environment variable"):
        case_list([planned(environment={name: "x"})], {})


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(PipelineError, match="zero byte"):
        case_list([planned(arguments=("echo", "a\0b"))], {})


def test_the_profiles_disks_reach_every_case_one_word_each() -> None:
    disks = (Disk(size_mib=512, bus=Bus.NVME, namespaces=2, queues=2, vfs=1), Disk(size_mib=64))
    made = Leg(id="p", profile=Profile(name="p", disks=disks), tasks=())
    assert environment(made)["LISA_CI_PROFILE_DISKS"] == "lisa-ci-0:nvme:512:2:2:1 lisa-ci-1:virtio:64:1:0:0"
    found = Profile(name="p", disks=disks[1:], endpoint=Endpoint(host="h", host_key="k"))
    assert environment(Leg(id="p", profile=found, tasks=()))["LISA_CI_PROFILE_DISKS"] == "-:virtio:64:1:0:0"
    assert environment(Leg(id="p", profile=Profile(name="p"), tasks=()))["LISA_CI_PROFILE_DISKS"] == ""


def test_the_profiles_cards_reach_every_case_the_control_card_left_out() -> None:
    cards = (Nic(queues=4), Nic(model="e1000e", outbound=True), Nic(link=True))
    made = Leg(id="p", profile=Profile(name="p", nics=cards), tasks=())
    assert environment(made)["LISA_CI_PROFILE_NICS"] == (
        "52:54:00:6c:63:01,virtio,4,none 52:54:00:6c:63:02,e1000e,1,outbound 52:54:00:6c:63:03,virtio,1,link"
    )
    found = Profile(name="p", nics=cards[:1], endpoint=Endpoint(host="h", host_key="k"))
    assert environment(Leg(id="p", profile=found, tasks=()))["LISA_CI_PROFILE_NICS"] == "-,virtio,4,none"
