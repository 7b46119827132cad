"""A guest of 260 bytes that proves an accelerator: it does what firmware, boot loader and kernel do first.

Some hosts open ``/dev/kvm``, answer every question about it, even run real-mode code, and then hang or abort on the
first kernel; others run a kernel's first steps, but emulate protected mode without paging, and lack the instructions
there that boot loaders (an interrupt and its return) and UEFI (the floating-point unit) use. QEMU loads it by the
Multiboot standard (the "a.out kludge": the header says where to load a plain file); it ends QEMU through the
``isa-debug-exit`` device.
"""

from __future__ import annotations

import struct
from typing import Final

EXIT_PORT: Final = 0xF4
EXIT_VALUE: Final = 0x10
PASSED: Final = (EXIT_VALUE << 1) | 1  # isa-debug-exit ends QEMU with this exit code

_LOAD: Final = 0x100000
_PML4, _PDPT, _PD = 0x110000, 0x111000, 0x112000  # page tables, one page each, behind the program
_END: Final = 0x114000  # the stack begins here and grows downwards
_HEADER_BYTES: Final = 32
_MAGIC, _HAS_ADDRESSES = 0x1BADB002, 1 << 16

_PRESENT_WRITABLE: Final = 0x3
_LARGE_PAGE: Final = 0x83  # present, writable, 2 MiB

# The tables stand between the header and the program, each at an address that is known before the program is.
_DESCRIPTORS: Final = struct.pack("<4Q", 0, 0x00209A0000000000, 0x00CF9A000000FFFF, 0x00CF92000000FFFF)
_CODE_64, _CODE_32, _DATA = 0x08, 0x10, 0x18
_GDT: Final = _LOAD + _HEADER_BYTES
_GDT_POINTER: Final = _GDT + len(_DESCRIPTORS)
_IDT: Final = _GDT_POINTER + 6
_IDT_POINTER: Final = _IDT + 8
_FPU_CONTROL: Final = _IDT_POINTER + 6
_HANDLER: Final = _FPU_CONTROL + 2
_ENTRY: Final = _HANDLER + 1


def payload() -> bytes:
    """The Multiboot file, at most a few hundred bytes."""
    program = _program()
    header = struct.pack(
        "<8I",
        _MAGIC,
        _HAS_ADDRESSES,
        -(_MAGIC + _HAS_ADDRESSES) & 0xFFFFFFFF,
        _LOAD,  # where this header is in memory
        _LOAD,  # where the file is loaded
        _ENTRY + len(program),
        _END,
        _ENTRY,
    )
    return header + _tables() + program


def _tables() -> bytes:
    gate = struct.pack("<HHHH", _HANDLER & 0xFFFF, _CODE_32, 0x8E00, _HANDLER >> 16)  # a 32-bit interrupt gate
    return b"".join(
        (
            _DESCRIPTORS,
            struct.pack("<HI", len(_DESCRIPTORS) - 1, _GDT),
            gate,
            struct.pack("<HI", len(gate) - 1, _IDT),
            struct.pack("<H", 0x037F),  # the control word that the floating-point unit begins with
            b"\xcf",  # the handler: iret
        )
    )


def _program() -> bytes:
    """Protected mode without paging -> an interrupt -> identity mapping of 2 MiB -> 64-bit mode -> the exit device."""
    begin = b"\xfa" + b"\x0f\x01\x15" + _word(_GDT_POINTER)  # cli; lgdt
    segments = b"".join(
        (
            b"\x66\xb8" + struct.pack("<H", _DATA) + b"\x8e\xd8\x8e\xc0\x8e\xd0",  # ds = es = ss = data
            b"\xbc" + _word(_END),  # the stack
            b"\x0f\x01\x1d" + _word(_IDT_POINTER) + b"\xcd\x00",  # lidt; int 0
            b"\x9b\xdb\xe3\xd9\x2d" + _word(_FPU_CONTROL),  # fwait; fninit; fldcw
        )
    )
    paging = b"".join(
        (
            _store(_PML4, _PDPT | _PRESENT_WRITABLE),
            _store(_PDPT, _PD | _PRESENT_WRITABLE),
            _store(_PD, _LARGE_PAGE),
            b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",  # cr4 |= PAE
            b"\xb8" + _word(_PML4) + b"\x0f\x22\xd8",  # cr3 = PML4
            b"\xb9\x80\x00\x00\xc0\x0f\x32",  # read the EFER register
            b"\x0d\x00\x01\x00\x00\x0f\x30",  # EFER |= long mode enable
            b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0",  # cr0 |= paging: long mode is active from here
        )
    )
    final = b"".join(
        (
            b"\xb8" + _word(EXIT_VALUE),  # mov eax, EXIT_VALUE
            b"\xba" + _word(EXIT_PORT),  # mov edx, EXIT_PORT
            b"\xef",  # out dx, eax
            b"\xf4\xeb\xfd",  # hlt, for ever
        )
    )
    program = begin
    for code_segment, part in ((_CODE_32, segments + paging), (_CODE_64, final)):
        program += _jump(code_segment, _ENTRY + len(program)) + part
    return program


def _jump(segment: int, address: int) -> bytes:
    """A far jump at ``address`` to the instruction after it, which loads the code segment."""
    return b"\xea" + struct.pack("<IH", address + 7, segment)


def _word(value: int) -> bytes:
    return struct.pack("<I", value)


def _store(address: int, value: int) -> bytes:
    """Write ``value`` as a 64-bit page table entry: mov dword [address], value; mov dword [address + 4], 0."""
    return struct.pack("<HII", 0x05C7, address, value) + struct.pack("<HII", 0x05C7, address + 4, 0)
