"""Azure's noes: each real error, delivered in each way it comes, means the right thing for a leg."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.azure import client, errors
from lisa_ci.platforms.azure.client import RefusedError, Subscription
from lisa_ci.platforms.azure.errors import Way
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.faults import error_body, real_errors, throttled
from tests.doubles.azure.wire import Answer
from tests.doubles.azure.world import FakeClock, make_arm, subscription

MEANS = {
    "SkuNotAvailable": Way.ELSEWHERE,
    "OperationNotAllowed": Way.ELSEWHERE,
    "QuotaExceeded": Way.ELSEWHERE,
    "AllocationFailed": Way.ELSEWHERE,
    "ZonalAllocationFailed": Way.ELSEWHERE,
    "OverconstrainedAllocationRequest": Way.ELSEWHERE,
    "OverconstrainedZonalAllocationRequest": Way.ELSEWHERE,
    "BadRequest": Way.ELSEWHERE,
    "OSProvisioningTimedOut": Way.STOP,
    "ResourceCollectionRequestsThrottled": Way.WAIT,
    "ResourceGroupNotFound": Way.STOP,
    "ResourceNotFound": Way.STOP,
    "InUseSubnetCannotBeDeleted": Way.WAIT,
    "PublicIPAddressCannotBeDeleted": Way.WAIT,
    "CannotDeleteResource": Way.WAIT,
    "AnotherOperationInProgress": Way.WAIT,
    "ReferencedResourceNotProvisioned": Way.WAIT,
}
REAL = [row for row in real_errors() if row["code"] in MEANS]
IDS = [f"{number}-{row['code']}" for number, row in enumerate(REAL)]


def test_every_real_error_is_in_the_table_of_this_test() -> None:
    assert {row["code"] for row in real_errors()} - set(MEANS) == {"DeploymentFailed"}


@pytest.mark.parametrize("row", REAL, ids=IDS)
class TestEachRealError:
    def body(self, row: dict[str, Any]) -> dict[str, Any]:
        return error_body(row["code"], row["message"])

    def test_it_means_the_same_whatever_the_status_is(self, row: dict[str, Any]) -> None:
        for status in (200, 400, 404, 409, 429, 500):
            assert errors.understand(self.body(row), status=status).way is MEANS[row["code"]]

    def test_it_means_the_same_inside_a_refused_template(self, row: dict[str, Any]) -> None:
        body = error_body("InvalidTemplateDeployment", "The template deployment is not valid.", self.body(row)["error"])
        found = errors.understand(body, status=400)
        assert found.way is MEANS[row["code"]]
        assert found.causes[0].code == row["code"], "the deepest cause comes first"

    def test_it_means_the_same_as_json_in_the_message_of_a_failed_deployment(self, row: dict[str, Any]) -> None:
        inner = {"code": "Conflict", "message": json.dumps(self.body(row))}
        body = {"status": "Failed", **error_body("DeploymentFailed", "At least one resource ... failed.", inner)}
        found = errors.understand(body, status=200)
        assert found.way is MEANS[row["code"]]
        assert found.causes[0].code == row["code"]
        assert found.causes[-1].code == "DeploymentFailed"


class TestWords:
    def test_a_quota_and_a_disk_that_is_in_use_share_a_code(self) -> None:
        busy = error_body("OperationNotAllowed", "Cannot detach the disk while the VM is being deallocated.")
        assert errors.understand(busy).way is Way.WAIT

    def test_what_a_person_has_to_set_right_comes_before_what_may_do_elsewhere(self) -> None:
        body = error_body(
            "DeploymentFailed",
            "failed",
            {"code": "SkuNotAvailable", "message": "no"},
            {"code": "RequestDisallowedByPolicy", "message": "no public addresses here"},
        )
        found = errors.understand(body)
        assert found.way is Way.STOP
        assert "policy" in found.hint

    def test_an_error_that_nobody_knows_stops_and_is_shown(self) -> None:
        found = errors.understand(error_body("BrandNewError", "something new"))
        assert (found.way, str(found)) == (Way.STOP, "BrandNewError: something new")

    @pytest.mark.parametrize(("status", "way"), [(429, Way.WAIT), (502, Way.WAIT), (504, Way.WAIT), (418, Way.STOP)])
    def test_a_page_of_a_proxy_is_judged_by_its_status(self, status: int, way: Way) -> None:
        assert errors.understand("<html>Bad gateway</html>", status=status).way is way

    @pytest.mark.parametrize("number", ["700213", "700024", "700016", "90002"])
    def test_a_login_that_is_refused_says_what_to_do(self, number: str) -> None:
        assert errors.identity_hint(f"AADSTS{number}: No. Trace ID: 1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["code", "message", "details", "error", "innererror", "target"]), inner)
    ),
    max_leaves=40,
)


@given(JSON)
def test_no_answer_is_too_strange_to_be_understood(body: object) -> None:
    found = errors.understand(body, status=400)
    assert found.causes
    assert all(len(cause.message) <= 700 and len(cause.code) <= 80 for cause in found.causes)


def test_an_answer_that_is_nested_without_end_is_cut() -> None:
    body: dict[str, Any] = {"code": "Inner", "message": "x" * 5000}
    for _ in range(500):
        body = {"error": body, "details": [body]}
    assert len(errors.causes(body)) <= 64


# ---- through the real SDK ------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> tuple[Arm, Subscription, FakeClock]:
    clock = FakeClock()
    entra = Entra(now=clock.now)
    arm = make_arm(now=clock.now, entra=entra, pace=1)
    return arm, subscription(arm, entra, clock.as_clock()), clock


def create(azure: Subscription, until: float) -> None:
    body: Any = {"location": "westeurope", "tags": {"a": "b"}}
    azure.patiently(lambda: azure.resources.resource_groups.create_or_update("g", body), "make g", until=until)


class TestThroughTheSdk:
    def test_a_sold_out_size_is_no_resource_that_exists_already(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        row = real_errors()[0]
        arm.plan.add(
            "PUT", "/resourcegroups/g$", answer=Answer(status=409, body=error_body(row["code"], row["message"]))
        )
        with pytest.raises(RefusedError) as caught:
            create(azure, clock.now() + 100)
        assert caught.value.refusal.way is Way.ELSEWHERE
        assert caught.value.refusal.causes[0].code == "SkuNotAvailable"

    def test_a_throttled_request_is_sent_again_after_the_time_that_azure_names(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        arm.plan.add("PUT", "/resourcegroups/g$", nth=1, last=7, answer=throttled(11))
        began = clock.now()
        create(azure, began + 600)
        assert "g" in arm.groups
        assert clock.now() - began >= 7 * 11

    def test_a_connection_that_is_cut_after_the_work_was_done_makes_nothing_twice(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        arm.plan.add("PUT", "/resourcegroups/g$", cuts="after")
        create(azure, clock.now() + 100)
        assert list(arm.groups) == ["g"]

    def test_a_network_that_is_down_is_given_up_at_the_limit(self, world: tuple[Arm, Subscription, FakeClock]) -> None:
        arm, azure, clock = world
        arm.plan.add("PUT", "/resourcegroups/g$", last=1000, cuts="before")
        with pytest.raises(RefusedError) as caught:
            create(azure, clock.now() + 60)
        assert caught.value.refusal.way is Way.WAIT
        assert caught.value.refusal.causes[0].code == "NoConnection"

    def test_a_token_that_is_refused_names_the_number_of_entra_and_what_to_do(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        assert arm.entra is not None
        arm.entra.job_subject = "repo:acme/distro:pull_request"
        with pytest.raises(RefusedError) as caught:
            create(azure, clock.now() + 100)
        assert "AADSTS700213" in caught.value.message
        assert "doctor azure" in caught.value.hint
        assert not arm.writes


class TestOperations:
    def delete(self, azure: Subscription, until: float) -> None:
        poller = azure.resources.resource_groups.begin_delete("g", polling=azure.steps())
        azure.followed(poller, "delete g", until=until)

    def test_an_operation_is_followed_at_the_pace_that_azure_names(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        create(azure, clock.now() + 100)
        arm.requests.clear()
        began = clock.now()
        self.delete(azure, began + 300)
        assert not arm.groups
        assert 30 <= clock.now() - began <= 41
        assert sum("operationresults" in one for one in arm.requests) <= 5, "it asks every ten seconds"

    def test_an_operation_that_never_ends_is_given_up_at_the_limit(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        create(azure, clock.now() + 100)
        arm.plan.add("DELETE", "/resourcegroups/g$", hangs=True)
        with pytest.raises(ProvisioningError, match="in time"):
            self.delete(azure, clock.now() + 120)

    def test_the_error_inside_an_operation_is_told_though_its_status_is_200(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        create(azure, clock.now() + 100)
        failed = {"code": "AllocationFailed", "message": "Allocation failed."}
        arm.plan.add("PUT", "/disks/d$", operation=failed)
        body: Any = {
            "location": "westeurope",
            "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1},
        }
        poller = azure.compute.disks.begin_create_or_update("g", "d", body, polling=azure.steps())
        with pytest.raises(RefusedError) as caught:
            azure.followed(poller, "make d", until=clock.now() + 100)
        assert caught.value.refusal.way is Way.ELSEWHERE

    def test_a_question_that_fails_for_a_moment_does_not_end_the_following(
        self, world: tuple[Arm, Subscription, FakeClock]
    ) -> None:
        arm, azure, clock = world
        create(azure, clock.now() + 100)
        arm.plan.add("GET", "/operationresults/", nth=1, last=2, cuts="before")
        arm.plan.add("GET", "/operationresults/", nth=2, answer=Answer(status=503, body=error_body("ServerBusy", "")))
        self.delete(azure, clock.now() + 300)
        assert not arm.groups


def test_an_error_without_an_answer_is_still_understood() -> None:
    from azure.core.exceptions import HttpResponseError

    assert client.understood(HttpResponseError(message="nothing")).way is Way.STOP
