"""Volumes: the occupancy grid, samplers, the volume renderer and the model that owns them with its field."""

from nerfkit.volume.samplers import SAMPLERS

__all__ = ["SAMPLERS"]
