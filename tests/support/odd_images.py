"""Image files of every odd kind, written byte by byte where Pillow cannot write them, with the expected pixels."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lkca_search.data.readers.image_decoder import COLOR_SPACE, FIRST_FRAME, GRAY_TO_RGB, ON_WHITE, SCALED, UPRIGHT
from tests.support.sixteen_bit_files import write_png, write_tiff

HEIGHT, WIDTH = 8, 12
Pixels = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class OddImage:
    """Encoded image of one kind."""

    name: str
    """File name; its stem is the kind."""
    content: bytes
    expected: Pixels | str
    """Decoded pixels, (H, W, 3), or the error."""
    conversions: frozenset[str] = frozenset()


def pixels(seed: int, channels: int = 3, dtype: Any = np.uint8) -> Pixels:
    """Return random values, (H, W, C)."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)


def encode(image: Image.Image, fmt: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=fmt, **options)
    return file.getvalue()


def scaled(values: Pixels) -> Pixels:
    """Return 16-bit values as 8-bit values."""
    return np.rint(values / 257).astype(np.uint8)


def on_white(values: Pixels) -> Pixels:
    """Return color over white, for values with alpha in the last channel, as 8-bit values."""
    white = np.iinfo(values.dtype).max
    alpha = values[..., -1:] / white
    exact = values[..., :-1] / white * alpha + (1 - alpha)
    return np.rint(exact * 255).astype(np.uint8)


def rgb(values: Pixels) -> Pixels:
    """Return gray values, (H, W, 1), as RGB."""
    return np.broadcast_to(values, (HEIGHT, WIDTH, 3))


def odd_images() -> list[OddImage]:
    """Return one image of every odd kind that can be decoded."""
    return [*_turned(), *_deep(), *_transparent(), *_other_modes(), *_several_frames()]


def _turned() -> Iterator[OddImage]:
    upright = pixels(1)
    across = upright.swapaxes(0, 1)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: across,
        6: across[::-1],
        7: across[::-1, ::-1],
        8: across[:, ::-1],
    }
    for orientation, values in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        conversions = frozenset({UPRIGHT} if orientation > 1 else ())
        image = Image.fromarray(np.ascontiguousarray(values))
        yield OddImage(
            name=f"exif {orientation}.png",
            content=encode(image, "PNG", exif=exif),
            expected=upright,
            conversions=conversions,
        )
        if orientation in (6, 8):
            tags = {0x0112: orientation}
            yield OddImage(
                name=f"exif {orientation}.tif",
                content=encode(image, "TIFF", tiffinfo=tags),
                expected=upright,
                conversions=conversions,
            )
            jpeg = encode(image, "JPEG", exif=exif)
            decoded = np.asarray(Image.open(io.BytesIO(jpeg)))
            turned = np.rot90(decoded, 3 if orientation == 6 else 1)
            yield OddImage(name=f"exif {orientation}.jpg", content=jpeg, expected=turned, conversions=conversions)


def _deep() -> Iterator[OddImage]:
    gray, pairs, color, four = (pixels(10 + channels, channels, np.uint16) for channels in (1, 2, 3, 4))
    yield OddImage(
        name="16-bit gray.png",
        content=write_png(gray),
        expected=rgb(scaled(gray)),
        conversions=frozenset({SCALED, GRAY_TO_RGB}),
    )
    yield OddImage(
        name="16-bit gray and alpha.png",
        content=write_png(pairs),
        expected=rgb(on_white(pairs)),
        conversions=frozenset({SCALED, ON_WHITE, GRAY_TO_RGB}),
    )
    yield OddImage(
        name="16-bit RGB.png", content=write_png(color), expected=scaled(color), conversions=frozenset({SCALED})
    )
    yield OddImage(
        name="16-bit RGBA.png",
        content=write_png(four),
        expected=on_white(four),
        conversions=frozenset({SCALED, ON_WHITE}),
    )
    key = color[2, 3]
    keyed = scaled(color)
    keyed[2, 3] = 255
    yield OddImage(
        name="16-bit RGB, one color transparent.png",
        content=write_png(color, transparent=key.astype(">u2").tobytes()),
        expected=keyed,
        conversions=frozenset({SCALED, ON_WHITE}),
    )
    for name, order, deflate in (("little", "<", False), ("big", ">", False), ("deflate", ">", True)):
        yield OddImage(
            name=f"16-bit RGB, {name}.tif",
            content=write_tiff(color, order=order, deflate=deflate),
            expected=scaled(color),
            conversions=frozenset({SCALED}),
        )
    yield OddImage(
        name="16-bit RGBA.tif",
        content=write_tiff(four, order="<"),
        expected=on_white(four),
        conversions=frozenset({SCALED, ON_WHITE}),
    )
    yield OddImage(
        name="16-bit gray.tif",
        content=write_tiff(gray, order=">"),
        expected=rgb(scaled(gray)),
        conversions=frozenset({SCALED, GRAY_TO_RGB}),
    )


def _transparent() -> Iterator[OddImage]:
    pairs, four, color = pixels(20, 2), pixels(21, 4), pixels(22)
    yield OddImage(
        name="gray and alpha.png",
        content=encode(Image.fromarray(pairs, "LA"), "PNG"),
        expected=rgb(on_white(pairs)),
        conversions=frozenset({ON_WHITE, GRAY_TO_RGB}),
    )
    for fmt, suffix, options in (
        ("PNG", "png", {}),
        ("TIFF", "tif", {}),
        ("WEBP", "webp", {"lossless": True, "exact": True}),
    ):
        yield OddImage(
            name=f"RGBA.{suffix}",
            content=encode(Image.fromarray(four), fmt, **options),
            expected=on_white(four),
            conversions=frozenset({ON_WHITE}),
        )
    opaque = np.dstack([color, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    yield OddImage(name="RGBA, opaque.png", content=encode(Image.fromarray(opaque), "PNG"), expected=color)
    glyph = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    glyph[2:6, 3:9, 3] = 255
    yield OddImage(
        name="black glyph on transparent.png",
        content=encode(Image.fromarray(glyph), "PNG"),
        expected=255 - rgb(glyph[..., 3:]),
        conversions=frozenset({ON_WHITE}),
    )
    key = tuple(int(value) for value in color[4, 5])
    keyed = color.copy()
    keyed[4, 5] = 255
    yield OddImage(
        name="RGB, one color transparent.png",
        content=encode(Image.fromarray(color), "PNG", transparency=key),
        expected=keyed,
        conversions=frozenset({ON_WHITE}),
    )
    indices = np.random.default_rng(23).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
    palette = np.array([[0, 0, 0], [200, 10, 20], [30, 220, 40], [50, 60, 240]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    yield OddImage(name="palette.png", content=encode(image, "PNG"), expected=palette[indices])
    shown = palette[indices].copy()
    shown[indices == 1] = 255
    for fmt, suffix in (("PNG", "png"), ("GIF", "gif")):
        yield OddImage(
            name=f"palette with transparency.{suffix}",
            content=encode(image, fmt, transparency=1),
            expected=shown,
            conversions=frozenset({ON_WHITE}),
        )


def _other_modes() -> Iterator[OddImage]:
    color, bits = pixels(30), np.random.default_rng(31).integers(0, 2, (HEIGHT, WIDTH, 1)) > 0
    ink = np.dstack([255 - color, np.zeros((HEIGHT, WIDTH), np.uint8)])  # no black: RGB is the complement
    yield OddImage(
        name="CMYK.tif",
        content=encode(Image.fromarray(ink, "CMYK"), "TIFF"),
        expected=color,
        conversions=frozenset({COLOR_SPACE}),
    )
    jpeg = encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100, subsampling=0)
    decoded = 255 - np.asarray(Image.open(io.BytesIO(jpeg)))[..., :3]
    yield OddImage(name="CMYK.jpg", content=jpeg, expected=decoded, conversions=frozenset({COLOR_SPACE}))
    yield OddImage(
        name="1-bit.png",
        content=encode(Image.fromarray(bits[..., 0]), "PNG"),
        expected=rgb(np.where(bits, 255, 0).astype(np.uint8)),
        conversions=frozenset({GRAY_TO_RGB}),
    )
    yield OddImage(
        name="LZW.tif", content=encode(Image.fromarray(color), "TIFF", compression="tiff_lzw"), expected=color
    )
    avif = encode(Image.fromarray(color), "AVIF", quality=100, subsampling="4:4:4")
    yield OddImage(name="AVIF.avif", content=avif, expected=np.asarray(Image.open(io.BytesIO(avif))))
    webp = encode(Image.fromarray(color), "WEBP", lossless=True)
    yield OddImage(name="WebP.webp", content=webp, expected=color)


def _several_frames() -> Iterator[OddImage]:
    frames = [Image.fromarray(pixels(40 + i)).quantize(8, dither=Image.Dither.NONE).convert("RGB") for i in range(3)]
    for name, fmt, options in (
        ("animated.gif", "GIF", {}),
        ("animated.webp", "WEBP", {"lossless": True}),
        ("animated.avif", "AVIF", {"quality": 100, "subsampling": "4:4:4"}),
        ("animated.png", "PNG", {}),
        ("several pages.tif", "TIFF", {}),
    ):
        content = encode(frames[0], fmt, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(content)) as image:
            first = np.asarray(image.convert("RGB")) if fmt == "AVIF" else np.asarray(frames[0])
        yield OddImage(name=name, content=content, expected=first, conversions=frozenset({FIRST_FRAME}))


def refused_images() -> list[OddImage]:
    """Return one file of every kind that cannot be decoded, with its error."""
    color = Image.fromarray(pixels(50))
    whole = {fmt: encode(color, fmt) for fmt in ("PNG", "JPEG", "WEBP", "BMP")}
    cut = [
        OddImage(name=f"truncated.{fmt.lower()}", content=data[: len(data) // 2], expected="image cannot be decoded: ")
        for fmt, data in whole.items()
    ]
    return [
        *cut,
        OddImage(
            name="empty.png",
            content=b"",
            expected="image cannot be decoded: the file is empty; remove it, or copy it again",
        ),
        OddImage(
            name="text.png",
            content=b"no image",
            expected="image cannot be decoded: unknown format; remove it, or save it again as PNG or JPEG",
        ),
        OddImage(
            name="32-bit.tif",
            content=encode(Image.new("I", (WIDTH, HEIGHT)), "TIFF"),
            expected="image cannot be decoded: images must have 8 or 16 bits per channel, got mode I",
        ),
        OddImage(
            name="floating point.tif",
            content=encode(Image.new("F", (WIDTH, HEIGHT)), "TIFF"),
            expected="image cannot be decoded: images must have 8 or 16 bits per channel, got mode F",
        ),
        OddImage(
            name="16-bit gray, white is 0.tif",
            content=write_tiff(pixels(51, 1, np.uint16), order="<", photometric=0),
            expected="image cannot be decoded: 16-bit TIFF must store black as 0, got white as 0",
        ),
        OddImage(
            name="16-bit gray.jp2",
            content=encode(Image.fromarray(pixels(52, 1, np.uint16)[..., 0]), "JPEG2000"),
            expected="image cannot be decoded: images with more than 8 bits must be PNG or TIFF",
        ),
    ]
