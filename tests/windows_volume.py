"""Disks with an NTFS volume that has a Windows' registry hives, and no Windows.

`vm/disks/windows.blocks.xz` is one that no build has touched; `windows-left.blocks.xz` is the same with all that a
build brings along and has not taken away, put there by ntfs-3g, and by hivexsh into four hives.
"""

import lzma
import struct
from pathlib import Path

PARTITION = 1024**2  # where the volume begins
BLOCKS = Path(__file__).parent / "vm/disks/windows.blocks.xz"
LEFT = BLOCKS.with_name("windows-left.blocks.xz")
TITLE = "Windows Server 2022 Datacenter (20348.2619, ServerDatacenter, de-DE)"


def disk_bytes(blocks: Path = BLOCKS) -> bytearray:
    """The whole disk; the file has its size, then each block of 4 KiB that is not empty."""
    content = lzma.decompress(blocks.read_bytes())
    disk = bytearray(struct.unpack_from("<Q", content)[0])
    for start in range(8, len(content), 8 + 4096):
        place = struct.unpack_from("<Q", content, start)[0] * 4096
        disk[place : place + 4096] = content[start + 8 : start + 8 + 4096]
    return disk
