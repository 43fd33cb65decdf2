"""Photos or a video without cameras -> a data set with cameras, and what a capture doctor has to say about it."""

from nerfkit.prepare.options import Prepared, PrepareOptions
from nerfkit.prepare.points import find_points
from nerfkit.prepare.run import prepare
from nerfkit.prepare.source import has_photos_only

__all__ = ["PrepareOptions", "Prepared", "find_points", "has_photos_only", "prepare"]
