"""A texture as the bytes of a picture: PNG, JPEG or WebP."""

import io
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from nerfkit.runs.files import to_bytes

ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""The kinds of pictures, and how their files' names end."""
_MIMES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


class Encoding(NamedTuple):
    """How a texture is packed.

    Attributes:
        kind: of ``ENDINGS``; png is exact, jpeg and webp are smaller and not.
        quality: of the last two, 1 to 100. JPEG keeps all of the colors' resolution, WebP half of it.
    """

    kind: str = "png"
    quality: int = 90

    def packed(self, texture: Tensor) -> bytes:
        """The picture of a texture (A,B,3), or (A,B) in gray, in [0,1]."""
        buffer, picture = io.BytesIO(), Image.fromarray(to_bytes(texture))
        if self.kind == "png":
            picture.save(buffer, "PNG")
        elif self.kind == "jpeg":
            picture.save(buffer, "JPEG", quality=self.quality, subsampling=0)
        else:
            picture.save(buffer, "WEBP", quality=self.quality)
        return buffer.getvalue()

    @property
    def ending(self) -> str:
        """With the dot."""
        return f".{ENDINGS[self.kind]}"


PNG = Encoding()


def mime_of(content: bytes) -> str:
    """The media type of a picture that ``Encoding`` packed."""
    return next(mime for head, mime in _MIMES.items() if content.startswith(head))
