"""Texture look-ups: bilinear, and trilinear through a pyramid of mipmaps."""

from torch import Tensor

from ..backend import backend_for


def sample_texture(texture: Tensor, uv: Tensor, covered: Tensor) -> Tensor:
    """Bilinear texture look-up; outside [0,1]^2 the border's texel counts.

    The convention is OBJ's: u to the right, v up; texel (i,j) of A x B has its centre at u = (j + 0.5) / B,
    v = 1 - (i + 0.5) / A.

    Args:
        texture: (A,B,C), at least one texel.
        uv: (P,2).
        covered: (P,) bool: where to look up; elsewhere the result is 0.

    Returns:
        (P,C), differentiable with respect to ``texture`` and ``uv``.

    Raises:
        ValueError: a shape is wrong.
    """
    if texture.ndim != 3 or 0 in texture.shape[:2]:
        raise ValueError(f"texture: expected (A,B,C) with at least one texel, got {tuple(texture.shape)}")
    if uv.ndim != 2 or uv.shape[1] != 2 or covered.shape != uv.shape[:1]:
        raise ValueError(f"uv, covered: expected (P,2) and (P,), got {tuple(uv.shape)} and {tuple(covered.shape)}")
    backend = backend_for(texture)
    if backend == "reference":
        from . import reference

        return reference.sample_texture(texture, uv, covered)
    from . import cpu

    if backend == "cpu":
        return cpu.sample_texture(texture, uv, covered)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    return cpu.sample_texture(texture.cpu(), uv.cpu(), covered.cpu()).to(texture.device)
