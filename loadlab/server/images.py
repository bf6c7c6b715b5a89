"""Images in a request: their size is read from the header of the data URL, nothing is decoded and nothing is fetched."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from loadlab.server.errors import ApiError, refused

HEADER_BYTES = 64 * 2**10  # of a file, decoded to find its size: a JPEG may carry a thumbnail before it
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15 but for tables and extensions (ITU T.81, table B.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSize:
    """Pixels of an image."""

    width_px: int
    height_px: int


def image_size_of_url(url: str, param: str) -> ImageSize:
    """The size of a PNG, JPEG, GIF or WebP in a data URL. Raises ApiError (400) on anything else; remote addresses are never fetched."""
    head, comma, data = url.partition(",")
    if not url.startswith("data:"):
        raise refused("image URLs are not fetched: send the image itself as a data URL (data:image/png;base64,...).", param, url[:80])
    if not comma or not head.endswith(";base64"):
        raise refused("a data URL of an image must be base64 (data:image/png;base64,...).", param, head[:80])
    try:
        start = base64.b64decode(data[: HEADER_BYTES * 4 // 3 // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        raise refused("the image's base64 cannot be decoded.", param, head[:80]) from None
    size = image_size(start)
    if size is None or size.width_px < 1 or size.height_px < 1:
        raise ApiError(400, "the image is none of PNG, JPEG, GIF and WebP, or its header is damaged.", param=param)
    return size


def image_size(start: bytes) -> ImageSize | None:
    """The size that the first bytes of an image file say; None if they say none."""
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR" and len(start) >= 24:
        return ImageSize(width_px=int.from_bytes(start[16:20], "big"), height_px=int.from_bytes(start[20:24], "big"))
    if start.startswith((b"GIF87a", b"GIF89a")) and len(start) >= 10:
        return ImageSize(width_px=int.from_bytes(start[6:8], "little"), height_px=int.from_bytes(start[8:10], "little"))
    if start.startswith(b"\xff\xd8"):
        return _jpeg_size(start)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP" and len(start) >= 30:
        return _webp_size(start)
    return None


def _jpeg_size(start: bytes) -> ImageSize | None:
    """Walks over the segments before the frame header."""
    at = 2
    while at + 9 <= len(start) and start[at] == 0xFF:
        marker = start[at + 1]
        if marker in _JPEG_FRAMES:
            return ImageSize(
                width_px=int.from_bytes(start[at + 7 : at + 9], "big"), height_px=int.from_bytes(start[at + 5 : at + 7], "big")
            )
        if marker == 0xFF:  # padding
            at += 1
        else:
            at += 2 + int.from_bytes(start[at + 2 : at + 4], "big")
    return None


def _webp_size(start: bytes) -> ImageSize | None:
    """The three formats of RFC 9649."""
    kind = start[12:16]
    if kind == b"VP8X":
        return ImageSize(width_px=1 + int.from_bytes(start[24:27], "little"), height_px=1 + int.from_bytes(start[27:30], "little"))
    if kind == b"VP8L" and start[20] == 0x2F:
        bits = int.from_bytes(start[21:25], "little")
        return ImageSize(width_px=1 + (bits & 0x3FFF), height_px=1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        sides = (int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF)
        return ImageSize(width_px=sides[0], height_px=sides[1])
    return None
