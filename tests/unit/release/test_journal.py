from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lisa_ci.errors import DataError, PublishingError
from lisa_ci.release.journal import LINE_LIMIT, Entry, Journal, Step

A, B = "a" * 64, "b" * 64


def entry(step: Step, digest: str = A, previous: str = "") -> Entry:
    return Entry(step=step, version="1.0", digest=digest, previous=previous)


def test_steps_are_kept_in_order_and_apart_by_release(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.steps(A) == ()
    for one in (entry(Step.STAGING), entry(Step.STAGING, B), entry(Step.STAGED)):
        journal.write(one)
    assert [one.step for one in journal.steps(A)] == [Step.STAGING, Step.STAGED]
    assert [one.step for one in journal.steps(B)] == [Step.STAGING]


def test_what_was_undone_counts_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for one in (entry(Step.STAGED), entry(Step.UNDONE), entry(Step.STAGING)):
        journal.write(one)
    assert [one.step for one in journal.steps(A)] == [Step.STAGING]


@pytest.mark.parametrize("torn", [b"{", b'{"schema":1,"step":"sta', b"\0\0\0"])
def test_a_line_torn_by_a_crash_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(entry(Step.STAGING))
    with (tmp_path / "journal").open("ab") as file:
        file.write(torn)
    assert [one.step for one in journal.steps(A)] == [Step.STAGING]
    journal.write(entry(Step.STAGED))
    assert [one.step for one in journal.steps(A)] == [Step.STAGING, Step.STAGED]
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 2


def test_a_torn_first_line_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b'{"schema":1')
    Journal(tmp_path / "journal").write(entry(Step.STAGING))
    assert [one.step for one in Journal(tmp_path / "journal").steps(A)] == [Step.STAGING]


def test_a_long_journal_stays_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for _ in range(2 * LINE_LIMIT // len(A)):
        journal.write(entry(Step.STAGING))
    assert len(list(journal.entries())) == 2 * LINE_LIMIT // len(A)


@pytest.mark.parametrize(
    "line", [b"null\n", b'{"schema":2,"step":"done","version":"1","digest":"a"}\n', b"\n", b"\xff\n"]
)
def test_a_line_that_is_not_ours_is_told_with_its_place(tmp_path: Path, line: bytes) -> None:
    Journal(tmp_path / "journal").write(entry(Step.STAGING))
    with (tmp_path / "journal").open("ab") as file:
        file.write(line)
    with pytest.raises(DataError, match="journal:2"):
        list(Journal(tmp_path / "journal").entries())


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(entry(Step.STAGING))
    before = (tmp_path / "journal").read_bytes()
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return write(descriptor, bytes(data[:20]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def later(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
        return full(descriptor, data)

    monkeypatch.setattr(os, "write", later)
    with pytest.raises(PublishingError, match="cannot write the journal"):
        journal.write(entry(Step.STAGED))
    assert (tmp_path / "journal").read_bytes() == before


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "journal").symlink_to("victim")
    with pytest.raises(PublishingError, match="cannot write the journal"):
        Journal(tmp_path / "journal").write(entry(Step.STAGING))
    assert (tmp_path / "victim").read_text() == ""
