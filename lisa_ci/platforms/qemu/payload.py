"""A guest of 200 bytes that proves an accelerator: it switches to 64-bit mode with paging, as a kernel does.

Some hosts open ``/dev/kvm``, answer every question about it, even run real-mode code, and then hang or abort on the
first kernel. So the proof is a program that does what a kernel does first. QEMU loads it by the Multiboot standard
(the "a.out kludge": the header says where to load a plain file); it ends QEMU through the ``isa-debug-exit`` device.
"""

from __future__ import annotations

import struct
from typing import Final

EXIT_PORT: Final = 0xF4
EXIT_VALUE: Final = 0x10
PASSED: Final = (EXIT_VALUE << 1) | 1  # isa-debug-exit ends QEMU with this exit code

_LOAD: Final = 0x100000
_PML4, _PDPT, _PD = 0x110000, 0x111000, 0x112000  # page tables, one page each, behind the program
_END: Final = 0x113000
_HEADER_BYTES: Final = 32
_MAGIC, _HAS_ADDRESSES = 0x1BADB002, 1 << 16

_PRESENT_WRITABLE: Final = 0x3
_LARGE_PAGE: Final = 0x83  # present, writable, 2 MiB


def payload() -> bytes:
    """The Multiboot file, at most a few hundred bytes."""
    entry = _LOAD + _HEADER_BYTES
    code = _to_long_mode(entry)
    header = struct.pack(
        "<8I",
        _MAGIC,
        _HAS_ADDRESSES,
        -(_MAGIC + _HAS_ADDRESSES) & 0xFFFFFFFF,
        _LOAD,  # where this header is in memory
        _LOAD,  # where the file is loaded
        _LOAD + _HEADER_BYTES + len(code),
        _END,
        entry,
    )
    return header + code


def _to_long_mode(entry: int) -> bytes:
    """Protected mode without paging -> identity mapping of 2 MiB -> 64-bit mode -> out(EXIT_PORT, EXIT_VALUE)."""
    setup = b"".join(
        (
            b"\xfa",  # cli
            _store(_PML4, _PDPT | _PRESENT_WRITABLE),
            _store(_PDPT, _PD | _PRESENT_WRITABLE),
            _store(_PD, _LARGE_PAGE),
            b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",  # cr4 |= PAE
            b"\xb8" + struct.pack("<I", _PML4) + b"\x0f\x22\xd8",  # cr3 = PML4
            b"\xb9\x80\x00\x00\xc0\x0f\x32",  # read the EFER register
            b"\x0d\x00\x01\x00\x00\x0f\x30",  # EFER |= long mode enable
            b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0",  # cr0 |= paging: long mode is active from here
        )
    )
    after_jumps = entry + len(setup) + 7 + 7
    final = b"".join(
        (
            b"\xb8" + struct.pack("<I", EXIT_VALUE),  # mov eax, EXIT_VALUE
            b"\xba" + struct.pack("<I", EXIT_PORT),  # mov edx, EXIT_PORT
            b"\xef",  # out dx, eax
            b"\xf4\xeb\xfd",  # hlt, for ever
        )
    )
    descriptors = after_jumps + len(final)
    jump = b"".join(
        (
            b"\x0f\x01\x15" + struct.pack("<I", descriptors + 16),  # lgdt
            b"\xea" + struct.pack("<IH", after_jumps, 0x08),  # far jump into the 64-bit code segment
        )
    )
    table = struct.pack("<QQ", 0, 0x00209A0000000000) + struct.pack("<HI", 15, descriptors)
    return setup + jump + final + table


def _store(address: int, value: int) -> bytes:
    """Write ``value`` as a 64-bit page table entry: mov dword [address], value; mov dword [address + 4], 0."""
    return struct.pack("<HII", 0x05C7, address, value) + struct.pack("<HII", 0x05C7, address + 4, 0)
