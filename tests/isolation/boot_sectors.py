"""Guests of one sector: machine code that the BIOS starts, with all rights that a guest can have.

Source: INT 13h function 43h ("extended write"), with its packet; the serial port at 3F8h.
"""

from pathlib import Path

SECTOR = 512
LOADED_AT = 0x7C00
FIRST_DISK, SECOND_DISK = 0x80, 0x81
PACKET_AT = LOADED_AT + 0x100
_BEGIN = bytes.fromhex("31c0 8ed8 8ec0")  # xor ax,ax; mov ds,ax; mov es,ax
_HALT = bytes.fromhex("f4 ebfd")  # hlt; jmp to it


def _write(disk: int) -> bytes:
    """mov si,packet; mov dl,disk; mov ax,4300h; int 13h: the first sector of memory at 7C00h goes to the disk."""
    return b"\xbe" + PACKET_AT.to_bytes(2, "little") + bytes((0xB2, disk)) + bytes.fromhex("b80043 cd13")


def _sector(code: bytes, first_sector: int) -> bytes:
    packet = (
        bytes.fromhex("1000 0100") + LOADED_AT.to_bytes(2, "little") + bytes(2) + first_sector.to_bytes(8, "little")
    )
    return (code.ljust(0x100, b"\0") + packet).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def writes_for_ever(sectors_between: int) -> bytes:
    """A guest that writes a sector here and there, further and further on."""
    low, high = (PACKET_AT + 8).to_bytes(2, "little"), (PACKET_AT + 10).to_bytes(2, "little")
    further = b"\x81\x06" + low + sectors_between.to_bytes(2, "little") + b"\x83\x16" + high + b"\0"  # add, adc
    once = _write(FIRST_DISK) + further
    return _sector(_BEGIN + once + b"\xeb" + (-len(once) - 2).to_bytes(1, signed=True), sectors_between)


def writes_to_both_disks() -> bytes:
    """A guest that writes its second sector to both of its disks, and says `W` on the serial port when it has tried."""
    say = bytes.fromhex("baf803 b057 ee")  # mov dx,3F8h; mov al,'W'; out dx,al
    return _sector(_BEGIN + _write(FIRST_DISK) + _write(SECOND_DISK) + say + _HALT, 1)


def disk_with(path: Path, sector: bytes, *, size_bytes: int) -> Path:
    """A raw disk that starts with it."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(sector)
    return path
