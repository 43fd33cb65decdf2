"""Lenses that bend light: the camera models of COLMAP and OpenCV, forward and backward."""

from dataclasses import dataclass

# Name -> its parameters, in the order in which COLMAP stores them.
MODELS: dict[str, tuple[str, ...]] = {"SIMPLE_PINHOLE": ("f", "cx", "cy"), "PINHOLE": ("fx", "fy", "cx", "cy")}


@dataclass(frozen=True)
class Lens:
    """One camera's lens and the size of its pictures.

    Attributes:
        model: a key of ``MODELS``.
        width, height: of the pictures that ``params`` refer to, in pixels.
        params: as the model lists them; lengths in pixels, the top left corner of the picture at (0, 0).
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]
