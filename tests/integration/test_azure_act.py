"""The workflow for Azure under act: two Azure legs and one other, each job proved by GitHub's OIDC, all on loopback.

Played machines, so that it stays short: docs/azure-live.md says what stands for what.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.doubles import openssh
from tests.doubles.act import COMMIT, ROOT, ActRun, run_act
from tests.doubles.azure.disks import UploadedDisks
from tests.doubles.azure.hosts import SshdHosts
from tests.doubles.azure.world import azure_on_loopback
from tests.doubles.azurite import azurite
from tests.integration.test_act import lisa_ci_repository, wheelhouse
from tests.integration.test_azure_pipeline import PIPELINE, SSH, SUITE

__all__ = ["lisa_ci_repository", "wheelhouse"]


def make_caller(folder: Path, environment: dict[str, str], pipeline: str) -> None:
    """A repository whose workflow is the template; act knows no variables of a repository."""
    workflow = folder / ".github/workflows/lisa-ci.yml"
    workflow.parent.mkdir(parents=True)
    text = (ROOT / "templates/azure/lisa-ci.yml").read_text().replace("0" * 40, COMMIT)
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"):
        text = text.replace(f"${{{{ vars.{name} }}}}", environment[name])
    workflow.write_text(text)
    (folder / "lisa-ci.yml").write_text(pipeline)
    (folder / "small").mkdir()
    (folder / "small/suite.yaml").write_text(SUITE)


def run_caller(
    caller: Path, folder: Path, environment: Mapping[str, str], *, port: int, lisa_ci: Path, wheels: Path
) -> ActRun:
    """A push to that repository. ``port`` is where the machines' SSH answers; artifacts are in ``folder``/work."""
    return run_act(
        caller,
        ".github/workflows/lisa-ci.yml",
        event="push",
        payload={"ref": "refs/heads/main"},
        work=folder / "work",
        repositories={"lisa-ci/lisa-ci": lisa_ci, "acme/distro": caller},
        environment={
            **environment,
            "GITHUB_REPOSITORY": "acme/distro",
            "GITHUB_REF": "refs/heads/main",
            "SHA_REF": COMMIT,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "LISA_CI_CACHE": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
            "AZURE_RUNNER_ADDRESSES": "203.0.113.9",
            "AZURE_SSH_PORT": str(port),
        },
    )


def test_the_workflow_for_azure_ends_green_and_leaves_nothing(
    tmp_path: Path,
    lisa_ci_repository: Path,
    wheelhouse: Path,
) -> None:
    with socket.create_server(("127.0.7.2", 0)) as reserved:
        port = reserved.getsockname()[1]
    hosts = SshdHosts(tmp_path / "hosts", is_apart=True, port=port)
    hosts.address = lambda number: f"127.0.7.{number % 250 + 2}"  # type: ignore[method-assign]
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(20 << 20)
    caller = tmp_path / "caller"
    try:
        with (
            openssh.sshd(tmp_path) as login,
            azurite() as storage,
            azure_on_loopback(tmp_path, hosts=hosts, pace=0.01) as (arm, served),
        ):
            arm.uploads = UploadedDisks(storage).link
            third = SSH.format(port=login.port, key=login.host_key)
            access = f"access: {{user: {login.user}, way_in: key, key: {login.key}}}"
            make_caller(caller, served.environment, PIPELINE.format(image=disk, third=third, access=access))
            run = run_caller(
                caller, tmp_path, served.environment, port=port, lisa_ci=lisa_ci_repository, wheels=wheelhouse
            )
            left, used = dict(arm.groups), list(arm.entra.used if arm.entra else ())
            tokens = list(arm.entra.assertions if arm.entra else ())
    finally:
        hosts.close()
    assert run.exit == 0, run.text[-6000:]
    assert not left
    assert len(set(used)) == len(used) >= 2
    _check_evidence(run, tmp_path / "work/artifacts", tokens)


def _check_evidence(run: ActRun, artifacts: Path, tokens: list[str]) -> None:
    runs = [json.loads(path.read_text()) for path in artifacts.rglob("run.json")]
    assert {one["leg"] for one in runs} == {"azure-west", "azure-north", "here"}
    receipts = [receipt for one in runs for receipt in one["receipts"]]
    assert len(receipts) == 2
    assert all(receipt["left"] == [] and receipt["created"] for receipt in receipts)
    consoles = [path for path in artifacts.rglob("console.log") if path.parent.name.startswith("lisa-ci-leg-azure")]
    assert len(consoles) == 2
    assert all(b"Linux version" in path.read_bytes() for path in consoles)
    assert any("left 0" in text for text in run.summaries), run.summaries
    plain = "\n".join(line for lines in run.lines.values() for line in lines if "add-mask" not in line)
    assert not any(token in plain for token in tokens)
