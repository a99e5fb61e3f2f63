"""Pictures of a camera, as JPEG.

Owns: drawing the test pattern, and reading picture files. Must not know: which camera is running, or what time it is:
the time is an argument, and equal arguments give equal pictures.
"""

from __future__ import annotations

import io
import warnings
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from camera_data.definition import TEST_SOURCE, CameraDefinition
from camera_data.errors import SourceError

JPEG_QUALITY = 75
BARS = ((192, 192, 192), (192, 192, 0), (0, 192, 192), (0, 192, 0), (192, 0, 192), (192, 0, 0), (0, 0, 192))
SWEEP_S = 4.0  # one crossing of the picture by the moving parts
MAX_PIXELS = 50_000_000  # of a picture file: 150 MB once unpacked

_Size = tuple[int, int]


def check_source(camera: CameraDefinition, directory: Path) -> None:
    """Raises SourceError if the camera would give no picture. A file is looked for below `directory`."""
    if camera.source != TEST_SOURCE:
        _frame_of_file(directory / camera.source, camera.source, 0.0, (camera.width_px, camera.height_px))


def picture(camera: CameraDefinition, directory: Path, at: datetime) -> bytes:
    """The camera's picture at a moment: JPEG bytes of its width and height. Raises SourceError."""
    size = (camera.width_px, camera.height_px)
    at_s = at.timestamp()
    if camera.source == TEST_SOURCE:
        image = _test_pattern(size, at_s)
    else:
        image = _frame_of_file(directory / camera.source, camera.source, at_s, size)
    _caption(image, camera.name, at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-5] + " UTC")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _test_pattern(size: _Size, at_s: float) -> Image.Image:
    width, height = size
    along = at_s % SWEEP_S / SWEEP_S
    image = Image.new("RGB", size)
    bars, shift = _bars(size), round(along * width)
    image.paste(bars, (shift, 0))
    image.paste(bars, (shift - width, 0))
    radius = max(4, height // 10)
    across = abs(2 * along - 1)  # there and back
    x, y = radius + across * (width - 2 * radius), radius + (1 - across) * (height - 2 * radius)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill="white", outline="black", width=2)
    return image


@lru_cache(maxsize=16)
def _bars(size: _Size) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate(BARS):
        left, right = index * width // len(BARS), (index + 1) * width // len(BARS)
        draw.rectangle((left, 0, right, height), fill=colour)
    return image


def _caption(image: Image.Image, name: str, time: str) -> None:
    draw = ImageDraw.Draw(image)
    font = _font(max(10, image.height // 16))
    for text, anchor, y in ((name, "la", 0.03), (time, "ld", 0.97)):
        place = (image.width * 0.03, image.height * y)
        draw.rectangle(draw.textbbox(place, text, font=font, anchor=anchor), fill="black")
        draw.text(place, text, font=font, anchor=anchor, fill="white")


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size_px)


def _frame_of_file(path: Path, source: str, at_s: float, size: _Size) -> Image.Image:
    """The picture in a file, fitted into `size`; of an animation the frame that is due, ten a second."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
            with Image.open(path) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise SourceError(f"source {source!r} is too large: {file.width} x {file.height} pixels")
                file.seek(int(at_s * 10) % int(getattr(file, "n_frames", 1)))
                frame = file.convert("RGB")
    except FileNotFoundError:
        raise SourceError(f"source {source!r} does not exist") from None
    except UnidentifiedImageError:
        raise SourceError(f"source {source!r} is not a picture this service can read") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise SourceError(f"source {source!r} can't be read: {getattr(error, 'strerror', None) or error}") from None
    frame.thumbnail(size)
    canvas = Image.new("RGB", size)
    canvas.paste(frame, ((size[0] - frame.width) // 2, (size[1] - frame.height) // 2))
    return canvas
