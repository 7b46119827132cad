"""Which containers the environment names for images, and what a leg does with the answer about their accounts."""

from __future__ import annotations

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.platforms.azure.containers import VARIABLE, named

WEST = "https://west.blob.core.windows.net/images"
NORTH = "https://north.blob.core.windows.net/vhds/lisa"


def test_without_the_variable_there_is_none() -> None:
    assert named({}) == named({VARIABLE: ""}) == named({VARIABLE: " , "}) == ()


def test_several_are_named_with_commas_one_for_each_region() -> None:
    west, north = named({VARIABLE: f"{WEST}, {NORTH},"})
    assert (west.account, west.container, west.prefix) == ("west", "images", "")
    assert (north.name, north.url, north.prefix) == (
        "north/vhds",
        "https://north.blob.core.windows.net/vhds",
        "lisa/",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("images", "'images' is not an image's place"),
        ("https://west.blob.core.windows.net", "names no container"),
        ("http://127.0.0.1:10000/devstoreaccount1/images", "is not encrypted"),
        (f"{WEST},nothing", "'nothing' is not an image's place"),
    ],
)
def test_what_is_no_container_is_told_by_the_variable_s_name(text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=f"^{VARIABLE}: .*{why}"):
        named({VARIABLE: text})


def test_a_signature_is_refused_and_not_repeated() -> None:
    with pytest.raises(PipelineError) as caught:
        named({VARIABLE: f"{WEST}?sv=2025&sig=abcdefSECRET"})
    assert "SECRET" not in caught.value.message + caught.value.hint
    assert "drop the signature" in caught.value.hint
