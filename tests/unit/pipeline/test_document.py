from __future__ import annotations

import time

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.pipeline.document import MAX_BYTES, MAX_DEPTH, ListNode, MappingNode, ScalarNode, parse_document


def refused(data: bytes) -> str:
    with pytest.raises(PipelineError) as caught:
        parse_document(data, "f.yml")
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0])


def parsed(data: bytes) -> MappingNode:
    root, problems = parse_document(data, "f.yml")
    assert not problems
    assert isinstance(root, MappingNode)
    return root


def value(data: bytes) -> ScalarNode:
    node = parsed(b"k: " + data).entries[0][1]
    assert isinstance(node, ScalarNode)
    return node


def test_keys_and_values_know_their_line_and_column() -> None:
    (key, node), *_ = parsed(b"# comment\na:\n  - b: 1\n").entries
    assert str(key.location) == "f.yml:2:1"
    assert str(node.location) == "f.yml:3:3"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf", b"---\n...\n"])
def test_a_file_with_nothing_in_it_has_no_tree_or_a_null(data: bytes) -> None:
    root, problems = parse_document(data, "f.yml")
    assert root is None or (isinstance(root, ScalarNode) and root.tag == "null")
    assert not problems


def test_a_byte_order_mark_does_not_move_columns() -> None:
    assert str(parsed(b"\xef\xbb\xbfa: 1").entries[0][0].location) == "f.yml:1:1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff", "f.yml:2:4: error: byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfea\0", "f.yml: error: the file is UTF-16; save it as UTF-8"),
        (b"a: 1\nb: \0", "f.yml:2:4: error: character U+0000 is not allowed in YAML"),
        (b"a: \x1b[31m", "f.yml:1:4: error: character U+001B is not allowed in YAML"),
        (
            b"a:\n\t- b",
            "f.yml:2:1: error: not valid YAML: found character '\\t' that cannot start any token; use spaces",
        ),
        (b"a: b: c", "f.yml:1:5: error: not valid YAML: mapping values are not allowed here; put text that holds ': '"),
        (b"a: 'x", "f.yml:1:6: error: not valid YAML: found unexpected end of stream"),
        (b"a: @x", "f.yml:1:4: error: not valid YAML: found character '@'"),
        (b"a: 1\n---\nb: 2", "f.yml:2:1: error: a second YAML document starts here"),
        (b"a: *x", "f.yml:1:4: error: alias '*x' has no anchor '&x' above it"),
        (b"a: &x [*x]", "f.yml:1:8: error: alias '*x' lies inside its own anchor"),
        (b"&x a: {b: [&x {c: *x}]}", "f.yml:1:19: error: alias '*x' lies inside its own anchor"),
        (b"a: !secret b", "f.yml:1:4: error: YAML tag '!secret' is not used here"),
        (b"a: !!binary aGk=", "f.yml:1:4: error: YAML tag '!!binary' is not used here"),
        (b"!!python/object/apply:os.system [id]", "f.yml:1:1: error: YAML tag '!!python/object/apply:os.system'"),
        (b"!!set {a}", "f.yml:1:1: error: YAML tag '!!set' is not used here"),
        (b'a: "\\UFFFFFFFF"', "f.yml: error: not valid YAML: an escape or a version number is out of range"),
        (b"%YAML " + b"9" * 5000 + b".1\n---\na: 1", "f.yml: error: not valid YAML: an escape or a version number"),
        (b"%YAML 2.0\n---\na: 1", "f.yml:1:1: error: not valid YAML: found incompatible YAML document"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(data: bytes, message: str) -> None:
    assert refused(data).startswith(message)


def test_ten_megabytes_are_refused_before_they_are_parsed() -> None:
    started = time.monotonic()
    assert refused(b"a: 1\n" * 2_000_000) == (
        f"f.yml: error: the file is larger than {MAX_BYTES >> 10} KiB; split what is not configuration out of it"
    )
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("data", [b"[" * 100_000, b"- " * 50_000, b"? " * 50_000, b"{a: " * 50_000])
def test_depth_is_bounded(data: bytes) -> None:
    assert f"nested deeper than {MAX_DEPTH} levels" in refused(data)


def test_aliases_count_for_depth() -> None:
    lines = [b"a0: &a0 [1]", *(b"a%d: &a%d [*a%d]" % (n, n, n - 1) for n in range(1, 40))]
    assert f"nested deeper than {MAX_DEPTH} levels" in refused(b"\n".join(lines))


def test_aliases_that_multiply_are_bounded() -> None:
    lines = [
        b"a0: &a0 [1, 1]",
        *(b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 20)),
    ]
    assert "the file grows to more than" in refused(b"\n".join(lines))


def test_an_alias_is_the_value_of_its_anchor() -> None:
    root = parsed(b"a: &x [1, 2]\nb: *x\n")
    assert root.entries[0][1] is root.entries[1][1]


def test_merge_keys_give_what_the_mapping_does_not_say_itself() -> None:
    root = parsed(b"x: &x {a: 1, b: 2}\ny: &y {c: 3, b: 4}\nz: {<<: [*x, *y], a: 9}\n")
    merged = root.entries[2][1]
    assert isinstance(merged, MappingNode)
    assert {key.text: node.text for key, node in merged.entries if isinstance(node, ScalarNode)} == {
        "a": "9",
        "b": "2",
        "c": "3",
    }


def test_a_merge_of_something_else_is_a_mistake() -> None:
    _, problems = parse_document(b"<<: [1, {a: 1}]\n", "f.yml")
    assert [str(problem) for problem in problems] == [
        "f.yml:1:6: error: '<<' takes a mapping, or a list of mappings; write '<<: *anchor'"
    ]


def test_duplicate_keys_are_each_told_with_the_first_place() -> None:
    root, problems = parse_document(b"a: 1\nb: 1\na: 2\n'a': 3\n", "f.yml")
    assert [str(problem) for problem in problems] == [
        "f.yml:3:1: error: key 'a' is given twice; the first is in line 1",
        "f.yml:4:1: error: key 'a' is given twice; the first is in line 1",
    ]
    assert isinstance(root, MappingNode)
    assert len(root.entries) == 2


def test_a_key_that_is_a_list_is_a_mistake() -> None:
    _, problems = parse_document(b"? [a]\n: b\n", "f.yml")
    assert [problem.message for problem in problems] == ["a key must be text"]


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        (b"no", "bool"),
        (b"On", "bool"),
        (b"'no'", "str"),
        (b"!!str no", "str"),
        (b"! no", "str"),
        (b"010", "int"),
        (b"0x1f", "int"),
        (b"190:20:30", "int"),
        (b"1_000", "int"),
        (b"1.5", "float"),
        (b".nan", "float"),
        (b"1e3", "str"),
        (b"2024-01-01", "timestamp"),
        (b"~", "null"),
        (b"", "null"),
        (b"=", "value"),
        (b"30s", "str"),
    ],
)
def test_words_are_taken_as_yaml_takes_them_and_keep_their_spelling(data: bytes, tag: str) -> None:
    assert value(data).tag == tag


def test_weight_and_height_count_what_an_alias_stands_for() -> None:
    root = parsed(b"a: &x [1, 2]\nb: [*x, *x]\n")
    second = root.entries[1][1]
    assert isinstance(second, ListNode)
    assert (second.weight, second.height) == (7, 2)
