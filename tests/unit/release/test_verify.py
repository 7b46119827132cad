"""Signing and verifying a small release whose VHD is written without QEMU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.commands._proof import judge
from lisa_ci.errors import DataError, SigningError, VerificationError
from lisa_ci.model import KnownFailure, Outcome, Plan
from lisa_ci.release import envelope, folder, manifest, sums
from lisa_ci.release.inspect import Inspection, inspect, refuse_key_inside
from lisa_ci.release.sign import sign, statement_for
from lisa_ci.release.verify import Verification, verify
from tests.doubles.release import make_evidence, make_release, make_signer, silent, write_sums

VHD = "example-1.0-x86_64.vhd"


def signed(root: Path) -> Path:
    make_release(root)
    sign(root, make_signer(), judge, emit=silent)
    return root


def check(root: Path, signer: str = "signer", *, quick: bool = False) -> Verification:
    return verify(root, make_signer(signer).public, judge, quick=quick, emit=silent)


def problems(call: Callable[[], object]) -> list[str]:
    with pytest.raises(VerificationError) as caught:
        call()
    return [problem.message for problem in caught.value.problems]


def test_a_signed_release_verifies_and_every_file_is_part_of_the_proof(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    found = check(root)
    assert found.release.files.keys() == folder.listing(root).files
    assert found.statement.passed == ("small/boot#a", "small/boot#b", "small/boot#c")
    assert found.statement.subjects == {
        VHD: files.sha256_file(root / VHD),
        "disk": found.manifest.disk_digest,
        "SHA256SUMS": files.sha256_file(root / "SHA256SUMS"),
    }
    assert any("recomputed from every container" in fact for fact in found.facts)


def test_quick_says_that_the_disk_was_not_recomputed(tmp_path: Path) -> None:
    facts = check(signed(tmp_path / "release"), quick=True).facts
    assert any("not recomputed: --quick" in fact for fact in facts)


def test_signing_again_writes_the_same_bytes(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    before = (root / folder.STATEMENT).read_bytes()
    sign(root, make_signer(), judge, emit=silent)
    assert (root / folder.STATEMENT).read_bytes() == before


def test_a_release_can_be_verified_through_a_link(tmp_path: Path) -> None:
    signed(tmp_path / "1.0")
    (tmp_path / "latest").symlink_to("1.0")
    assert check(tmp_path / "latest").release.version == "1.0"


# ---- what is not signed ----


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.ERRORED])
def test_a_case_that_did_not_pass_prevents_the_signature_and_is_named(tmp_path: Path, outcome: Outcome) -> None:
    root = make_release(tmp_path / "release", outcome=outcome)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert any("not releasable" in line and "boot#b" in line for line in told), told
    assert not (root / folder.STATEMENT).exists()


KNOWN = KnownFailure(case="boot#b", reason="too slow", owner="kernel-team", expires=date(2099, 1, 1))


def with_baseline(plan: Plan) -> Plan:
    return replace(plan, baseline=(KNOWN, replace(KNOWN, case="boot#a")))


def lenient(plan: Plan) -> Plan:
    return replace(with_baseline(plan), release=replace(plan.release, allow_known_failures=True))


def test_a_known_failure_prevents_the_signature_and_is_the_only_thing_that_is_told(tmp_path: Path) -> None:
    """That another entry passes unexpectedly is no reason against the image."""
    root = make_release(tmp_path / "release", outcome=Outcome.FAILED, change=with_baseline)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert [line for line in told if line.startswith("not releasable")] == [
        "not releasable: not every case passed, 1 failed as the baseline knows"
    ]


def test_where_the_plan_allows_known_failures_the_statement_warns_of_each(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release", outcome=Outcome.FAILED, change=lenient)
    sign(root, make_signer(), judge, emit=silent)
    found = check(root)
    assert found.statement.warned == ("small/boot#b",)
    assert found.statement.passed == ("small/boot#a", "small/boot#c")
    assert b'"result":"WARNED"' in found.statement.encode()
    assert "known to fail, and let through by the plan: small/boot#b" in found.facts


def test_a_statement_that_hides_a_known_failure_does_not_verify(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release", outcome=Outcome.FAILED, change=lenient)
    honest = sign(root, make_signer(), judge, emit=silent)
    payload = replace(honest, warned=()).encode()
    signature = make_signer().sign(envelope.message(payload))
    (root / folder.STATEMENT).write_bytes(envelope.seal(payload, signature))
    assert problems(lambda: check(root))[0] == f"{folder.EVIDENCE} proves other tests than {folder.STATEMENT} lists"


def test_a_planned_leg_without_results_prevents_the_signature(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release")
    shutil.rmtree(root / folder.RESULTS / "small")
    write_sums(root)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert any("not releasable" in line and "small" in line for line in told), told


def test_evidence_about_another_disk_prevents_the_signature(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release")
    shutil.rmtree(root / folder.EVIDENCE)
    make_evidence(root / folder.EVIDENCE, "f" * 64)
    write_sums(root)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert any("the evidence is about ffff" in line for line in told), told
    assert any("evidence/plan.json has the digest" in line for line in told), told


def test_a_disk_that_is_not_what_the_manifest_says_prevents_the_signature(tmp_path: Path) -> None:
    """Whoever swaps the container and rewrites every sum still cannot make it the disk that was tested."""
    root = make_release(tmp_path / "release")
    with (root / VHD).open("r+b") as file:
        file.write(b"backdoor")
    text = (root / folder.MANIFEST).read_text()
    old = manifest.read(root).containers[0].sha256
    (root / folder.MANIFEST).write_text(text.replace(old, files.sha256_file(root / VHD)))
    write_sums(root)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert f"{VHD} holds another disk than manifest.json says" in told


def test_a_release_without_evidence_is_not_signed(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release")
    shutil.rmtree(root / folder.EVIDENCE)
    digest = manifest.read(root).plan_digest
    text = (root / folder.MANIFEST).read_text()
    (root / folder.MANIFEST).write_text(text.replace(f'"{digest}"', "null"))
    write_sums(root)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert any("there is no evidence" in line for line in told), told


def test_there_is_no_statement_about_a_folder_with_problems(tmp_path: Path) -> None:
    look = Inspection(root=tmp_path, listing=folder.Listing(files=frozenset(), flaws=()), problems=["x"])
    with pytest.raises(SigningError, match="has no statement"):
        statement_for(look)


def test_a_key_inside_the_release_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "release"
    root.mkdir()
    (root / "key.pub").write_text("x")
    (tmp_path / "alias").symlink_to(root / "key.pub")
    for key in (root / "key.pub", tmp_path / "alias", root / ".." / "release" / "key.pub"):
        with pytest.raises(VerificationError, match="lies in the release folder"):
            refuse_key_inside(root, key)
    refuse_key_inside(root, tmp_path / "key.pub")


# ---- what does not verify ----


def test_changed_missing_and_extra_files_are_all_named_at_once(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    (root / folder.RESULTS / "small" / "journal.ndjson").unlink()
    (root / "extra.txt").write_text("x")
    with (root / VHD).open("r+b") as file:
        file.write(b"y")
    told = problems(lambda: check(root))
    assert "extra.txt is extra: SHA256SUMS does not list it" in told
    assert "evidence/results/small/journal.ndjson is missing" in told
    assert f"{VHD} is changed: its bytes do not have the digest that SHA256SUMS lists" in told


def test_a_file_hidden_from_the_sums_by_a_rewrite_is_still_found(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    (root / "extra.txt").write_text("x")
    write_sums(root)
    told = problems(lambda: check(root))
    assert "SHA256SUMS is changed: statement.dsse.json is about other bytes" in told
    assert any(line.startswith("extra.txt is no part of a release") for line in told), told


def test_a_wrong_signer_is_named_with_both_keys(tmp_path: Path) -> None:
    told = problems(lambda: check(signed(tmp_path / "release"), "somebody else"))
    mine, other = make_signer().key_id, make_signer("somebody else").key_id
    assert told[0] == f"statement.dsse.json is signed by another key: it names {mine}, trusted is {other}"


def test_a_wrong_signer_who_claims_the_trusted_key_is_noticed(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    data = (root / folder.STATEMENT).read_text().replace(make_signer().key_id, make_signer("other").key_id)
    (root / folder.STATEMENT).write_text(data)
    told = problems(lambda: check(root, "other"))
    assert told[0] == "statement.dsse.json is changed: the trusted key did not sign these bytes"
    assert problems(lambda: check(root))[0].startswith("statement.dsse.json is changed: its key id is not")


def test_a_statement_about_other_digests_proves_nothing(tmp_path: Path) -> None:
    """A true signature of the trusted key, taken from another release."""
    root = signed(tmp_path / "release")
    make_release(tmp_path / "other", seed=b"other")
    sign(tmp_path / "other", make_signer(), judge, emit=silent)
    shutil.copy(tmp_path / "other" / folder.STATEMENT, root / folder.STATEMENT)
    told = problems(lambda: check(root))
    assert any(line.startswith(f"{VHD} is not what was signed") for line in told), told
    assert any(line.startswith("disk is not what was signed") for line in told), told
    assert any(line.startswith("SHA256SUMS is changed") for line in told), told
    assert any("is not the plan that was signed" in line for line in told), told


def test_a_signed_statement_that_tells_of_failures_or_other_tests_is_refused(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    good = statement_for(inspect(root, judge, with_disks=False, emit=silent))
    for statement, expected in (
        (replace(good, failed=("x",)), "failed tests: x"),
        (replace(good, passed=("more",)), "other tests"),
    ):
        payload = statement.encode()
        signature = make_signer().sign(envelope.message(payload))
        (root / folder.STATEMENT).write_bytes(envelope.seal(payload, signature))
        told = problems(lambda: check(root))
        assert any(expected in line for line in told), told


def test_an_unsigned_release_does_not_verify(tmp_path: Path) -> None:
    told = problems(lambda: check(make_release(tmp_path / "release")))
    assert told[0] == "statement.dsse.json is missing: the release is not signed"


# ---- hostile folders ----


def test_links_folders_and_special_files_are_refused_and_never_followed(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    (tmp_path / "secret").write_text("secret")
    (root / "manifest.json").unlink()
    (root / "manifest.json").symlink_to(tmp_path / "secret")
    (root / "outside").symlink_to("/etc", target_is_directory=True)
    (root / "empty").mkdir()
    os.mkfifo(root / "pipe")
    (root / "evidence" / "a" / "b" / "c").mkdir(parents=True)
    (root / "evidence" / "a" / "b" / "c" / "d").write_text("x")
    told = problems(lambda: check(root))
    for expected in (
        "manifest.json is a link; a release has only regular files",
        "outside is a link; a release has only regular files",
        "empty is not a regular file",
        "pipe is not a regular file",
        "evidence/a/b/c is not a regular file",
        "manifest.json is missing",
    ):
        assert expected in told, told
    assert "secret" not in " ".join(told)


@pytest.mark.parametrize("name", ["a\nb", "-rf", "..x..", "ü", "a b", ".hidden", "x" * 201, "\x1b[31m"])
def test_a_name_that_no_release_has_is_told_harmlessly(tmp_path: Path, name: str) -> None:
    root = signed(tmp_path / "release")
    (root / name).write_text("x")
    told = problems(lambda: check(root))
    assert "is not a name for a file of a release" in told[0]
    assert told[0].isprintable()


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    (root / "Manifest.json").write_text("{}")
    told = problems(lambda: check(root))
    assert "manifest.json and Manifest.json differ only in case" in told
    assert "Manifest.json is extra: SHA256SUMS does not list it" in told


def test_sums_that_list_what_they_cannot_are_refused(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    digests = sums.parse((root / sums.FILE_NAME).read_bytes())
    (root / sums.FILE_NAME).write_bytes(sums.write({**digests, folder.STATEMENT: "0" * 64}))
    assert "SHA256SUMS lists statement.dsse.json, which it cannot" in problems(lambda: check(root))


@pytest.mark.parametrize("name", [folder.MANIFEST, folder.STATEMENT, sums.FILE_NAME, folder.PLAN])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b'{"schema": 1}', b"null"])
def test_hostile_files_are_problems_not_tracebacks(tmp_path: Path, name: str, content: bytes) -> None:
    root = signed(tmp_path / "release")
    (root / name).write_bytes(content)
    assert any(name in line for line in problems(lambda: check(root)))


@pytest.mark.parametrize("name", [folder.MANIFEST, sums.FILE_NAME])
def test_a_huge_file_is_refused_within_bounded_memory(tmp_path: Path, name: str) -> None:
    root = signed(tmp_path / "release")
    os.truncate(root / name, 1 << 40)
    if name == folder.MANIFEST:
        with pytest.raises(DataError, match="larger than"):
            manifest.read(root)
    else:
        assert any("SHA256SUMS is larger than" in line for line in problems(lambda: check(root)))


def test_a_folder_with_too_many_files_is_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = signed(tmp_path / "release")
    monkeypatch.setattr(folder, "MAX_ENTRIES", 5)
    assert "holds more than 5 files" in problems(lambda: check(root))[0]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert problems(lambda: check(tmp_path / "none")) == [f"there is no release folder {tmp_path / 'none'}"]


def test_many_problems_are_counted_not_listed_without_end(tmp_path: Path) -> None:
    root = signed(tmp_path / "release")
    for number in range(300):
        (root / f"extra{number}").write_text("x")
    told = problems(lambda: check(root))
    assert len(told) == 202
    assert told[200].startswith("and ")


def test_every_byte_of_the_small_files_counts(tmp_path: Path) -> None:
    """Flip a bit at a dozen places of every file: verifying fails, and names the file."""
    root = signed(tmp_path / "release")
    for name in sorted(folder.listing(root).files - {VHD}):
        whole = (root / name).read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 12)):
            changed = bytearray(whole)
            changed[place] ^= 0x04
            (root / name).write_bytes(changed)
            told = problems(lambda: check(root, quick=True))
            assert any(name in line for line in told), (name, place, told)
        (root / name).write_bytes(whole)
    check(root)


def test_the_manifest_refuses_what_pack_never_writes(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release")
    good = (root / folder.MANIFEST).read_text()
    for old, new in (
        ('"name": "example"', '"name": "../x"'),
        ('"version": "1.0"', '"version": "a/b"'),
        (f'"file": "{VHD}"', '"file": "../../x"'),
        ('"schema": 1', '"schema": 2'),
        (f'"disk_bytes": {2 << 20}', '"disk_bytes": 5'),
        (manifest.read(root).disk_digest, "x"),
    ):
        assert old in good, old
        (root / folder.MANIFEST).write_text(good.replace(old, new))
        with pytest.raises(DataError, match=r"manifest\.json"):
            manifest.read(root)


def test_a_vhd_that_azure_would_refuse_is_told(tmp_path: Path) -> None:
    root = make_release(tmp_path / "release")
    (root / VHD).write_bytes(bytes(2 << 20) + b"conectix" + bytes(504))
    old = manifest.read(root).containers[0].sha256
    text = (root / folder.MANIFEST).read_text()
    (root / folder.MANIFEST).write_text(text.replace(old, files.sha256_file(root / VHD)))
    write_sums(root)
    told = problems(lambda: sign(root, make_signer(), judge, emit=silent))
    assert any(f"{VHD} the footer's checksum is" in line for line in told), told


def test_words_for_file_names_are_cleaned_and_checked() -> None:
    assert manifest.word("My Image: 1/2..3 ") == "My-Image-1-2.3"
    assert manifest.word("../..") == ""
    assert manifest.is_word("1.0+git")
    assert not manifest.is_word("a..b")
    assert not manifest.is_word("-x")
    assert not manifest.is_word("x" * 81)
