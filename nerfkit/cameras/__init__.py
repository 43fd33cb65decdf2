"""Cameras: the pinhole model, other projects' conventions, checks of poses, and cameras that are learned."""

from nerfkit.cameras.pinhole import Cameras, full_precision, look_at

__all__ = ["Cameras", "full_precision", "look_at"]
