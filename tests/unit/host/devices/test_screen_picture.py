"""A picture of a screen is read strictly, for a guest has drawn it, and is a PNG afterwards."""

import asyncio
import struct
import zlib
from typing import Any

import pytest
from qemu.qmp import QMPClient

from vmkiln.errors import VmkilnError
from vmkiln.host.devices import screen_picture
from vmkiln.host.devices.screen_picture import MOST_PICTURE_BYTES, SIGNATURE, png_of

POINTS = bytes(range(24))  # four by two


def test_every_point_is_in_the_png_and_nothing_else() -> None:
    found = png_of(b"P6\n4 2\n255\n" + POINTS)
    assert found.startswith(SIGNATURE)
    chunks, at = {}, len(SIGNATURE)
    while at < len(found):
        size, kind = struct.unpack_from(">I4s", found, at)
        content = found[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", found, at + 8 + size) == (zlib.crc32(kind + content),)
        chunks[kind], at = content, at + 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (4, 2, 8, 2, 0, 0, 0)
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0" + POINTS[:12] + b"\0" + POINTS[12:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P6\n4 2\n255\n" + POINTS[:-1],
        b"P6\n4 2\n255\n" + POINTS + b".",
        b"P6\n0 0\n255\n",
        b"P6\n4 2\n65535\n" + POINTS * 2,
        b"P5\n4 2\n255\n" + POINTS[:8],
        b"P6\n999999 999999\n255\n",
        b"P6\n99999 99999\n255\n" + POINTS,
        b"P6\n4096 4096\n255\n" + bytes(3 * 4096 * 4096),
        bytes(MOST_PICTURE_BYTES + 1),
    ],
    ids=["nothing", "short", "long", "no size", "deep", "grey", "more digits", "lies", "too large", "noise"],
)
def test_what_is_no_picture_of_its_size_is_refused(content: bytes) -> None:
    with pytest.raises(VmkilnError, match="QEMU gave"):
        png_of(content)


class _Silent(QMPClient):
    """A QEMU that takes a file, and answers nothing more."""

    def send_fd_scm(self, fd: int) -> None:
        pass

    async def execute(self, cmd: str, arguments: Any = None, oob: bool = False) -> Any:  # noqa: ARG002
        if cmd != "add-fd":
            await asyncio.Event().wait()
        return {"fdset-id": 1}


async def test_a_qemu_that_answers_nothing_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_picture, "LIMIT_SECONDS", 0.01)
    async with asyncio.timeout(60):
        with pytest.raises(VmkilnError, match="took too long"):
            await screen_picture.taken(_Silent())
