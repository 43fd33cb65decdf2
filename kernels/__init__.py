"""Numerics: one folder per operation, each with ``reference`` (the oracle), ``cpu`` (Numba) and, where it has one,
``triton``. Needs torch and numpy; Numba and Triton are imported when a kernel first asks for them."""

from .backend import backend_for, use

__all__ = ["backend_for", "use"]
