"""A vmcore's first bytes, in the three forms that there are, whole, cut and hostile."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.scenarios.vmcore import HEAD_BYTES, VmcoreFacts, build_id_of, read_vmcore

TOLD = b"OSRELEASE=6.1.0-56-cloud-amd64\nBUILD-ID=00ff\nPAGESIZE=4096\nCRASHTIME=1795876800\n"
FACTS = {"release": "6.1.0-56-cloud-amd64", "build_id": "00ff", "crashed": 1795876800}


def note(name: bytes, kind: int, data: bytes) -> bytes:
    padded = [part + bytes(-len(part) % 4) for part in (name + b"\0", data)]
    return struct.pack("<III", len(name) + 1, len(data), kind) + b"".join(padded)


def elf(told: bytes = TOLD) -> bytes:
    notes = note(b"CORE", 1, bytes(336)) + note(b"VMCOREINFO", 0, told)
    header = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 2) + bytes(6)
    load = struct.pack("<IIQQQQQQ", 1, 5, 4096, 0, 0, 0, 0, 0)
    return header + load + struct.pack("<IIQQQQQQ", 4, 0, 176, 0, 0, len(notes), 0, 0) + notes


def kdump(told: bytes = TOLD) -> bytes:
    first = bytearray(4096)
    first[:8] = b"KDUMP   "
    struct.pack_into("<i", first, 428, 4096)
    second = bytearray(4096)
    struct.pack_into("<qQ", second, 32, 8192, len(told))
    return bytes(first + second) + told


def flattened(data: bytes) -> bytes:
    """As makedumpfile -F writes it: the header's block last but one, then the end's mark."""
    header = (b"makedumpfile" + bytes(4) + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
    blocks = [(offset, data[offset : offset + 4096]) for offset in range(0, len(data), 4096)]
    ordered = [*blocks[1:], blocks[0]]
    records = b"".join(struct.pack(">qq", offset, len(block)) + block for offset, block in ordered)
    return header + records + struct.pack(">qq", -1, -1)


def test_each_form_tells_release_build_id_and_time() -> None:
    assert read_vmcore(elf()) == VmcoreFacts(form="ELF", **FACTS)  # type: ignore[arg-type]
    assert read_vmcore(kdump()) == VmcoreFacts(form="kdump", **FACTS)  # type: ignore[arg-type]
    assert read_vmcore(flattened(kdump())) == VmcoreFacts(form="flattened kdump", **FACTS)  # type: ignore[arg-type]
    assert read_vmcore(flattened(elf())) == VmcoreFacts(form="flattened ELF", **FACTS)  # type: ignore[arg-type]


def test_what_is_no_vmcore_is_none() -> None:
    assert [read_vmcore(data) for data in (b"", b"\x1f\x8b\x08", b"\x7fELF\x01\x01", b"makedumpfile")] == [None] * 4


def test_a_vmcore_without_information_tells_nothing() -> None:
    assert read_vmcore(kdump()[:4096]) == VmcoreFacts(form="kdump")
    assert read_vmcore(elf(b"CRASHTIME=soon\nOSRELEASE\n")) == VmcoreFacts(form="ELF")


def test_the_build_id_is_that_of_the_gnu_note() -> None:
    notes = note(b"Xen", 3, b"\x01") + note(b"GNU", 1, b"\x02") + note(b"GNU", 3, bytes.fromhex("00ffee"))
    assert build_id_of(notes) == "00ffee"
    assert build_id_of(notes[:20]) == ""


@given(st.sampled_from([elf(), kdump(), flattened(kdump())]), st.data())
def test_no_damage_makes_it_more_than_a_text_of_bounded_length(whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    facts = read_vmcore(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    assert facts is None or len(facts.release) <= 100


@given(st.binary(max_size=300))
def test_any_records_and_notes_come_to_an_end(data: bytes) -> None:
    read_vmcore(b"makedumpfile".ljust(4096, b"\0") + data)
    read_vmcore(b"\x7fELF\x02\x01" + data)
    build_id_of(data)


def test_a_record_far_away_costs_no_memory() -> None:
    far = b"makedumpfile".ljust(4096, b"\0") + struct.pack(">qq", HEAD_BYTES - 1, 1 << 40) + b"x" * 64
    assert read_vmcore(far) is None
