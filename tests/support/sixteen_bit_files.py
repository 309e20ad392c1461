"""Writers of PNG and TIFF files with 16 bits per channel, which Pillow cannot write."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_png(values: NDArray[Any], *, transparent: bytes = b"") -> bytes:
    """Return a PNG with 16 bits per channel; `transparent` is the color of its chunk tRNS."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    # Alternate the filters None and Sub, whose distance in bytes depends on the layout of a pixel.
    filtered = bytearray()
    for i, row in enumerate(rows):
        shifted = np.concatenate([np.zeros(2 * channels, np.uint8), row[: -2 * channels]])
        filtered += bytes([i % 2]) + (row - shifted if i % 2 else row).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
        if data or kind == b"IEND"
    )
    return b"\x89PNG\r\n\x1a\n" + body


def write_tiff(values: NDArray[Any], *, order: str, deflate: bool = False, photometric: int | None = None) -> bytes:
    """Return a TIFF with 16 bits per channel in the byte order `<` or `>`; the fourth channel is alpha."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if deflate else data
    if photometric is None:
        photometric = 2 if channels >= 3 else 1
    tags: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("H", (width,)),
        257: ("H", (height,)),
        258: ("H", (16,) * channels),
        259: ("H", (8 if deflate else 1,)),
        262: ("H", (photometric,)),
        273: ("I", (0,)),  # set below
        277: ("H", (channels,)),
        278: ("H", (height,)),
        279: ("I", (len(data),)),
        **({338: ("H", (2,))} if channels == 4 else {}),
    }
    start = 8 + 2 + 12 * len(tags) + 4
    long_values = struct.pack(f"{order}{channels}H", *tags[258][1]) if channels > 2 else b""
    tags[273] = ("I", (start + len(long_values),))
    directory = b""
    for tag, (code, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        packed = struct.pack(f"{order}I", start) if len(packed) > 4 else packed.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, 3 if code == "H" else 4, len(numbers)) + packed
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + directory + bytes(4) + long_values + data
