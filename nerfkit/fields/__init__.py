"""Radiance fields: what one is (``field``), and one module each; importing this package registers them."""

from nerfkit.fields import auto, harmonic, hash_grid, planes
from nerfkit.fields.field import FIELDS, Field, FieldOptions

__all__ = ["FIELDS", "Field", "FieldOptions", "auto", "harmonic", "hash_grid", "planes"]
