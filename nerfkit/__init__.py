"""nerfkit: photos with known cameras in; a radiance field, and from it a clean, textured, refined mesh out."""

__version__ = "0.1.0"
