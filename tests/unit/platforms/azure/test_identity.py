"""Who we are at Azure: chosen from the environment, without a stored secret, with a new assertion each time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.model import Secret
from lisa_ci.platforms.azure import identity
from lisa_ci.platforms.azure.identity import Kind
from tests.doubles.azure.entra import SUBSCRIPTION, Entra
from tests.doubles.azure.world import FakeClock, make_arm, subscription

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://github.invalid/token?v=1",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t",
    "AZURE_CLIENT_ID": "client",
    "AZURE_TENANT_ID": "tenant",
}


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        (GITHUB, Kind.GITHUB),
        ({"AZURE_FEDERATED_TOKEN_FILE": "/t", "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t"}, Kind.WORKLOAD),
        ({"IDENTITY_ENDPOINT": "http://169.254.169.254"}, Kind.MANAGED),
        ({}, Kind.CLI),
    ],
)
def test_the_environment_chooses(environment: Mapping[str, str], kind: Kind) -> None:
    assert identity.found(environment).kind is kind


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({**GITHUB, "AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID", "no secret"),
        ({"GITHUB_ACTIONS": "true", "AZURE_CLIENT_ID": "c"}, "may not ask", "id-token: write"),
        ({"AZURE_CLIENT_SECRET": "s3cr3t"}, "no stored secret", "doctor azure"),
    ],
)
def test_what_is_missing_is_said_and_how_to_get_it(environment: Mapping[str, str], message: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        identity.found(environment)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "s3cr3t" not in str(caught.value) + caught.value.hint


def test_both_forms_of_the_subject_are_told() -> None:
    said = {
        "GITHUB_REPOSITORY": "acme/distro",
        "GITHUB_REPOSITORY_ID": "42",
        "GITHUB_REPOSITORY_OWNER_ID": "7",
        "GITHUB_REF": "refs/heads/main",
    }
    told = [one.text for one in identity.subjects(said, environment_name="azure")]
    assert "repo:acme/distro:ref:refs/heads/main" in told
    assert "repo:acme/distro:environment:azure" in told
    assert "repo:acme@7/distro@42:ref:refs/heads/main" in told
    assert "repo:acme@7/distro@42:environment:azure" in told
    assert "repo:acme@7/distro@42:pull_request" in told


def test_a_pull_request_tells_the_subject_of_the_branch_and_not_of_its_merge() -> None:
    told = identity.subjects({"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/7/merge"})
    assert not any("refs/pull" in one.text for one in told)


def test_claims_of_something_that_is_no_token_are_empty() -> None:
    assert identity.claims(Secret("a.!!.c")) == {}


def test_each_token_is_asked_for_with_a_new_assertion_over_six_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(time, "time", clock.now)
    entra = Entra(now=clock.now)
    arm = make_arm(now=clock.now, entra=entra)
    azure = subscription(arm, entra, clock.as_clock())
    for _ in range(7):
        assert list(azure.resources.resource_groups.list()) == []
        clock.sleep(3600)
    assert len(entra.used) >= 6
    assert len(set(entra.used)) == len(entra.used), "no assertion is used twice"
    assert SUBSCRIPTION in arm.requests[0]
