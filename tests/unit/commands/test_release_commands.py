"""pack, sign, verify and publish as typed, on a release that needs no QEMU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lisa_ci import cli
from lisa_ci.errors import LisaCiError, PipelineError, PublishingError, SigningError, VerificationError
from lisa_ci.model import Outcome
from tests.doubles.release import make_disk, make_evidence, make_release, make_signer


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    for name in ("LISA_CI_KEY_PASSPHRASE", "LISA_CI_TRUSTED_KEY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments)


def failed(kind: type[LisaCiError], *arguments: str) -> str:
    """The command stops with this error; all its problems as text."""
    result = call(*arguments)
    assert isinstance(result.exception, kind), result.exception
    return "\n".join(map(str, result.exception.problems))


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_from_a_new_key_to_a_published_folder(tmp_path: Path) -> None:
    make_release(tmp_path / "release")
    assert ok("sign", "--new-key", "key") == "key.pub\n"
    assert ok("sign", "release", "--key", "key") == "release/statement.dsse.json\n"
    told = ok("verify", "release", "--key", "key.pub").splitlines()
    assert all(line.startswith("ok: ") for line in told)
    assert any("3 passed" in line for line in told)
    assert ok("publish", "apply", "release", "--to", "target", "--key", "key.pub") == "target/1.0\n"
    assert ok("publish", "apply", "release", "--to", "target") == "target/1.0\n"
    assert ok("verify", "target/latest", "--key", "target/trusted-key.pub", "--quick").splitlines()[0] == told[0]


def test_the_trusted_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_release(tmp_path / "release")
    ok("sign", "--new-key", "key")
    ok("sign", "release", "--key", "key")
    assert "nobody says whose releases" in failed(PublishingError, "publish", "apply", "release", "--to", "target")
    monkeypatch.setenv("LISA_CI_TRUSTED_KEY", "key.pub")
    ok("publish", "apply", "release", "--to", "target")


def test_a_key_with_a_passphrase_takes_it_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_release(tmp_path / "release")
    monkeypatch.setenv("LISA_CI_KEY_PASSPHRASE", "sesame")
    ok("sign", "--new-key", "key")
    ok("sign", "release", "--key", "key")
    monkeypatch.delenv("LISA_CI_KEY_PASSPHRASE")
    assert "has a passphrase" in failed(SigningError, "sign", "release", "--key", "key")


def test_every_reason_against_a_signature_is_told(tmp_path: Path) -> None:
    make_release(tmp_path / "release", outcome=Outcome.FAILED)
    (tmp_path / "release" / "extra").write_text("x")
    ok("sign", "--new-key", "key")
    told = failed(VerificationError, "sign", "release", "--key", "key")
    assert "extra is extra" in told
    assert "boot#b" in told
    assert "release is not signed" in told


def test_a_key_in_the_folder_is_refused_by_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_release(tmp_path / "release")
    (tmp_path / "release" / "key").write_bytes(make_signer().public.pem())
    for arguments in (
        ("sign", "release", "--key", "release/key"),
        ("verify", "release", "--key", "release/key"),
        ("publish", "apply", "release", "--to", "target", "--key", "release/key"),
    ):
        assert "lies in the release folder" in failed(VerificationError, *arguments)
    monkeypatch.setenv("LISA_CI_TRUSTED_KEY", "release/key")
    assert "lies in" in failed(VerificationError, "publish", "apply", "release", "--to", "target")


@pytest.mark.parametrize(
    "arguments",
    [("sign",), ("sign", "release"), ("sign", "--key", "k"), ("sign", "r", "--new-key", "k"), ("verify", "r")],
)
def test_half_a_command_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


def test_evidence_is_both_plan_and_results(tmp_path: Path) -> None:
    make_disk(tmp_path / "disk.raw")
    make_evidence(tmp_path, "0" * 64)
    assert "give both --plan and --results" in failed(
        PipelineError, "pack", "disk.raw", "--out", "out", "--plan", "plan.json"
    )


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "ü"])
def test_a_name_that_was_typed_is_refused_rather_than_changed(tmp_path: Path, name: str) -> None:
    make_disk(tmp_path / "disk.raw")
    told = failed(PipelineError, "pack", "disk.raw", "--out", "out", f"--name={name}")
    assert "cannot be part of a file name" in told


def test_a_pattern_that_matches_no_image_is_told(tmp_path: Path) -> None:
    assert "matches 0" in failed(PipelineError, "pack", "*.raw", "--out", "out")


def test_packing_another_disk_than_the_plan_is_about_is_refused(tmp_path: Path) -> None:
    make_disk(tmp_path / "disk.raw")
    make_evidence(tmp_path, "0" * 64)
    told = failed(VerificationError, "pack", "disk.raw", "--out", "out", "--plan", "plan.json", "--results", "results")
    assert "the plan is about the disk 0000" in told
    assert not (tmp_path / "out").exists()
