"""Pictures in memory, decoded to 8 bits a channel."""

import contextlib
import importlib
import io
import re
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from nerfkit.runs.untrusted import RefusedError

HEIF = (".heic", ".heif")
RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")
EXTRAS = {"HEIC": (HEIF, "pillow_heif"), "raw": (RAW, "rawpy")}  # what the extra "raw" decodes
WITHOUT = "JPEG or PNG without it", "pip install 'nerfkit[raw]', or export them as JPEG."  # expected, remedy
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12
PROGRAMS = ("EPS", "WMF")  # Pillow hands these to Ghostscript and to Windows
ORIENTATION = 274  # EXIF's tag


class DepthError(ValueError):
    """Pixels of neither 8 nor 16 bits a channel."""


class ExtraError(ValueError):
    """A format that an extra decodes, which is not installed."""


def extra(what: str, count: int = 1) -> Any:
    """The module that decodes "HEIC" or "raw" photos, of which there are ``count``.

    Raises:
        ExtraError: it is not installed.
    """
    module = EXTRAS[what][1]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExtraError(f"{count} {what} photo{'s' * (count > 1)}, and {module} is not installed") from None


def open_picture(data: bytes, name: str = "") -> Image.Image:
    """A packed picture, its header read; ``name`` of the file tells raw photos from the TIFFs that they pretend to be.

    Raises:
        ExtraError: HEIC or raw without what decodes it.
        Exception: the bytes are no picture: decoders raise a dozen unrelated types for damaged files.
    """
    if not data:
        raise ValueError("the file is empty")
    suffix = PurePath(name).suffix.lower()
    if suffix in RAW:
        return Image.fromarray(developed(data))
    try:
        return header_read(data)
    except UnidentifiedImageError:
        pass
    if suffix in HEIF or (data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS):
        extra("HEIC").register_heif_opener()
        with contextlib.suppress(UnidentifiedImageError):
            return header_read(data)
    raise ValueError("it is no picture of a known format")


def header_read(data: bytes) -> Image.Image:
    """A packed picture of a format that Pillow decodes itself; its pixels are not read yet.

    Raises:
        ValueError: it has too many pixels, or is of a format for which Pillow starts another program.
        Exception: as ``open_picture``.
    """
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise RefusedError(f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    if image.format in PROGRAMS:
        image.close()
        raise RefusedError(f"it is {image.format}, which another program would have to draw")
    return image


def developed(data: bytes) -> np.ndarray:
    """A raw photo (H,W,3) uint8, developed with the camera's white balance, upright.

    Raises:
        ExtraError: rawpy is not installed.
        Exception: the bytes are no raw photo.
    """
    with extra("raw").imread(io.BytesIO(data)) as raw:
        return np.asarray(raw.postprocess(use_camera_wb=True), np.uint8)


def decode_picture(data: bytes, mode: str = "RGB", name: str = "") -> np.ndarray:
    """The pixels of a packed picture in one of Pillow's modes of 8 bits a channel, such as (H,W,3) uint8 for "RGB".

    16-bit channels become 8-bit ones. What EXIF says of how a camera was held does not turn the picture: poses do. HEIC
    and raw photos are upright.

    Raises:
        DepthError: its pixels are float32, or no 16-bit integers.
        ExtraError, Exception: as ``open_picture``.
    """
    with open_picture(data, name) as image:
        if image.mode == "F":
            raise DepthError("pixels are float32")
        if image.mode[0] == "I":  # 16-bit gray, of which Pillow's own conversion would cut all above 255
            gray = np.asarray(image, np.float64)
            if gray.min() < 0 or gray.max() > 65535:
                raise DepthError("pixels are int32")
            return np.array(Image.fromarray(np.rint(gray / 257).astype(np.uint8)).convert(mode))
        return np.array(image.convert(mode))


def orientation(data: bytes) -> int:
    """How EXIF says that a picture's stored pixels are to be turned, 1 (not at all) to 8."""
    with contextlib.suppress(Exception), header_read(data) as image:  # damaged blocks raise anything
        turn = image.getexif().get(ORIENTATION, 1)
        return int(turn) if turn in range(1, 9) else 1
    return 1


def reason(error: Exception) -> str:
    """What a decoder says is wrong, in one line and without the addresses of objects."""
    said = re.sub(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>", "", str(error)).strip().splitlines()
    return said[0][:120] if said else type(error).__name__
