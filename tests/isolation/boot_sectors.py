"""Guests of one sector: machine code that the BIOS starts, with all rights that a guest can have.

Source: INT 13h function 43h ("extended write"), with its packet; the serial port at 3F8h.
"""

from pathlib import Path

SECTOR = 512
LOADED_AT = 0x7C00
FIRST_DISK, SECOND_DISK = 0x80, 0x81
PACKET_AT = LOADED_AT + 0x100
_BEGIN = bytes.fromhex("31c0 8ed8 8ec0")  # xor ax,ax; mov ds,ax; mov es,ax
_CLI = bytes.fromhex("fa")
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


COUNT_AT = LOADED_AT + 0x180
_SENT = bytes.fromhex("bafd03 ec a840 74fb")  # mov dx,3FDh; in al,dx; test al,40h (TEMT); jz to the in


def counts_for_ever() -> bytes:
    """A guest that counts in a byte at `COUNT_AT`, writes that to its second sector, and says it on the serial port.

    It waits until the port has sent that: what it writes into a full port would be lost.
    """
    count_at = COUNT_AT.to_bytes(2, "little")
    count = b"\xfe\x06" + count_at  # inc byte ptr
    say = bytes.fromhex("baf803") + b"\xa0" + count_at + b"\xee"  # mov dx,3F8h; mov al,count; out dx,al
    once = count + _write(FIRST_DISK) + say + _SENT
    return _sector(_BEGIN + once + b"\xeb" + (-len(once) - 2).to_bytes(1, signed=True), 1)


READY = b"~"  # which is in nothing that the BIOS says there, and that takes what is typed


def echoes() -> bytes:
    """A guest that says `READY` on the serial port, then whatever it is sent; it waits as `counts_for_ever` does.

    It takes no interrupts: with each tick the BIOS would read the port as its keyboard, and say what it has left.
    """
    say = bytes.fromhex("baf803 b0") + READY + b"\xee"  # mov dx,3F8h; mov al,'~'; out dx,al
    wait = bytes.fromhex("bafd03 ec a801 74fb")  # mov dx,3FDh; in al,dx; test al,1 (DR); jz to the in
    answer = bytes.fromhex("baf803 ec ee")  # mov dx,3F8h; in al,dx; out dx,al
    once = wait + answer + _SENT
    return _sector(
        _BEGIN + _CLI + say + _SENT + once + b"\xeb" + (-len(once) - 2).to_bytes(1, "little", signed=True), 1
    )


def disk_with(path: Path, sector: bytes, *, size_bytes: int) -> Path:
    """A raw disk that starts with it."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(sector)
    return path


FLASH_BYTES = 32 * 1024
# Firmware that goes on in memory, as a flash that is written to cannot be executed, and writes a byte to its own flash
# and one to that of the variables below it, in the words of a CFI flash (40h, then the byte); then it says `W`. Of the
# source, for `as --32`: lgdtl %cs:gdtr; mov %cr0,%eax; or $1,%al; mov %eax,%cr0; ljmpl $8,$p32; p32: mov $16 to ds, es;
# rep movsb of what follows to 1000h; jmp to it; movb $0x40 and $0 to FFFF9000h, then to FFFEA000h, there also $0xff;
# mov $0x3f8,%dx; mov $'W',%al; out; hlt; the table of segments.
_FIRMWARE = bytes.fromhex(
    "fa2e660f011678800f20c00c010f22c066ea1880ffff080066b810008ed88ec0be3880ffffbf00100000b923000000f3a4b800100000ffe0"
    "bb0090ffffc60340c60300bb00a0feffc60340c60300c603ff66baf803b057eef4ebfd8d74260090"
    "0000000000000000ffff0000009bcf00ffff00000093cf0017006080ffff"
)
_RESET = bytes.fromhex("e90d80")  # at FFFFFFF0h: jmp to FFFF8000h, where the flash begins


def flash_writer() -> bytes:
    """All of a flash of 32 KiB that is firmware of its own."""
    body = _FIRMWARE.ljust(FLASH_BYTES - 16, b"\xff")
    return body + _RESET.ljust(16, b"\xff")
