"""Pictures in memory, decoded to 8 bits a channel."""

import io

import numpy as np
from PIL import Image


class DepthError(ValueError):
    """Pixels of neither 8 nor 16 bits a channel."""


def decode_picture(data: bytes, mode: str = "RGB") -> np.ndarray:
    """The pixels of a packed picture in one of Pillow's modes of 8 bits a channel, such as (H,W,3) uint8 for "RGB".

    16-bit channels become 8-bit ones. What EXIF says of how a camera was held does not turn the picture: poses do.

    Raises:
        DepthError: its pixels are float32, or no 16-bit integers.
        Exception: the bytes are no complete picture: decoders raise a dozen unrelated types for damaged files.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "F":
            raise DepthError("pixels are float32")
        if image.mode[0] == "I":  # 16-bit gray, of which Pillow's own conversion would cut all above 255
            gray = np.asarray(image, np.float64)
            if gray.min() < 0 or gray.max() > 65535:
                raise DepthError("pixels are int32")
            return np.array(Image.fromarray(np.rint(gray / 257).astype(np.uint8)).convert(mode))
        return np.array(image.convert(mode))
