from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.model import Bus, Disk, Outcome, Profile, Secret, Shard, Subject, is_id, unmet, worst


@given(st.text(min_size=1), st.integers(1, 300))
def test_every_case_is_in_exactly_one_shard(case_id: str, count: int) -> None:
    assert sum(Shard(index=index, count=count).contains(case_id) for index in range(1, count + 1)) == 1


def test_a_shard_never_changes_because_a_stored_plan_depends_on_it() -> None:
    shards = [
        next(i for i in range(1, 5) if Shard(index=i, count=4).contains(case)) for case in ("a", "b", "c", "mm.x")
    ]
    assert shards == [3, 3, 3, 1]


@given(st.text())
def test_an_id_is_a_legal_file_name(text: str) -> None:
    if is_id(text):
        assert text not in {".", ".."}
        assert not set(text) & set("/\\\0 \n:")
        assert text == text.lower()


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_a_number_asks_for_at_least_and_a_word_for_the_same() -> None:
    given_by = Profile(name="p", cores=4, disks=(Disk(bus=Bus.NVME),)).capabilities
    assert unmet({"cores": 4, "firmware": ("uefi", "bios"), "disk_nvme": 1, "outbound": False}, given_by) == ()
    assert unmet({"cores": 8}, given_by) == ("needs cores >= 8, the profile gives 4",)
    assert unmet({"firmware": "uefi"}, given_by) == ("needs firmware uefi, the profile gives bios",)
    assert unmet({"gpu": 1}, given_by) == ("needs gpu >= 1, the profile says nothing of it",)
    assert unmet({"outbound": True}, given_by) == ("needs outbound true, the profile gives false",)
    assert unmet({"cores": True}, given_by) == ("needs cores true, the profile gives 4",)


def test_errored_is_the_worst_and_only_skips_are_a_skip() -> None:
    assert worst([Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED]) is Outcome.ERRORED
    assert worst([Outcome.SKIPPED, Outcome.PASSED]) is Outcome.PASSED
    assert worst([Outcome.SKIPPED]) is Outcome.SKIPPED
    assert worst([]) is None


def test_a_machine_that_already_runs_has_no_subject_digest() -> None:
    assert not Subject().digest
