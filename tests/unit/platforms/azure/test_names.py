from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import DataError
from lisa_ci.platforms.azure import names
from tests.unit.platforms.azure.orders import lease

GROUP_RULE = re.compile(r"[a-z0-9_][a-z0-9_.-]*[a-z0-9_]|[a-z0-9_]")


def test_the_group_of_a_leg_and_attempt_is_told_by_its_name() -> None:
    assert names.group(lease(owner="ci-7", leg="azure-intel.2of4")) == "lisa-ci-ci-7-azure-intel.2of4-3"


def test_another_region_of_the_same_attempt_is_another_group() -> None:
    plain = names.group(lease(owner="ci-7"))
    assert names.group(lease(owner="ci-7"), attempt_in="eastus") == f"{plain}-eastus"


def test_owners_that_differ_in_illegal_characters_only_get_different_groups() -> None:
    first, second = names.group(lease(owner="octo/distro")), names.group(lease(owner="octo distro"))
    assert first != second
    assert all(GROUP_RULE.fullmatch(name) for name in (first, second))


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=128), st.integers(1, 999))
def test_a_group_has_a_legal_name_whatever_the_owner_is_called(owner: str, leg: str, attempt: int) -> None:
    name = names.group(lease(owner=owner, leg=leg, attempt=attempt))
    assert len(name) <= names.GROUP_LIMIT
    assert GROUP_RULE.fullmatch(name)
    assert name == names.group(lease(owner=owner, leg=leg, attempt=attempt))


@given(st.text(min_size=80, max_size=300), st.text(min_size=80, max_size=300))
def test_long_names_that_are_cut_do_not_meet(one: str, other: str) -> None:
    assert (names.shortened(one) == names.shortened(other)) == (one == other)


def test_the_lease_reads_back_from_its_tags_in_universal_time() -> None:
    there = datetime(2026, 12, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    tags = names.tags(lease(delete_after=there))
    assert tags[names.DELETE_AFTER] == "2026-12-01T10:00:00Z"
    assert names.delete_after(tags) == datetime(2026, 12, 1, 10, 0, tzinfo=UTC)


def test_tags_fit_into_azures_limit_and_differ_where_owners_do() -> None:
    one, other = (names.tags(lease(owner="x" * 400 + end))[names.OWNER] for end in "ab")
    assert len(one) <= 256
    assert one != other


def test_what_does_not_bear_our_tags_is_never_ours() -> None:
    assert names.delete_after({}) is None
    assert names.delete_after({names.DELETE_AFTER: "2020-01-01T00:00:00Z"}) is None
    assert names.delete_after({names.OWNER: "somebody"}) is None


@pytest.mark.parametrize("value", ["", "tomorrow", "2026-13-01T00:00:00Z", "2026-12-01"])
def test_a_lease_that_cannot_be_read_is_an_error_and_not_expired(value: str) -> None:
    with pytest.raises(DataError, match="lisa-ci-delete-after"):
        names.delete_after({names.OWNER: "me", names.DELETE_AFTER: value})


def test_ids_name_each_level() -> None:
    group = names.group_id("SUB", "g")
    found = names.resource_id(group, "Microsoft.Network/virtualNetworks/subnets", "net", "control")
    assert (
        found == "/subscriptions/SUB/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/net/subnets/control"
    )


@given(st.text(min_size=1, max_size=200))
def test_a_lease_in_a_blob_s_metadata_is_the_lease(owner: str) -> None:
    """Their names are identifiers, their values go in headers: ASCII, in one line."""
    tags = names.tags(lease(owner=owner))
    metadata = names.metadata(tags)
    assert all(key.isidentifier() and value.isascii() and value.isprintable() for key, value in metadata.items())
    assert names.from_metadata(metadata) == tags


def test_metadata_of_others_are_no_lease() -> None:
    assert names.from_metadata({"owner": "me", "hdi_isfolder": "true"}) == {}
    assert names.from_metadata({"LISA_CI_OWNER": "\\x"}) == {names.OWNER: "\ufffd"}
