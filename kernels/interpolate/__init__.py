"""Interpolation of vertex attributes over fragments, a(pixel) = b_0 a[v_0] + b_1 a[v_1] + b_2 a[v_2]; of textures."""

from torch import Tensor

from ..backend import backend_for


def interpolate(face: Tensor, barycentrics: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Attributes at every pixel, 0 where no face is.

    Args:
        face: (N,H,W) int32, the face at every pixel, -1 where there is none.
        barycentrics: (N,H,W,3) float32, perspective-correct.
        faces: (F,3) int64 rows of ``attributes``. Corners with attributes of their own (UVs) use ``faces`` = 0 .. 3F-1.
        attributes: (V,C), the same in every view, or (N,V,C).

    Returns:
        (N,H,W,C), differentiable with respect to ``barycentrics`` and ``attributes``.

    Raises:
        ValueError: a shape or dtype is wrong.
    """
    if barycentrics.shape != (*face.shape, 3):
        raise ValueError(f"barycentrics: expected {(*face.shape, 3)}, got {tuple(barycentrics.shape)}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces: expected integers of shape (F,3), got {faces.dtype} {tuple(faces.shape)}")
    if attributes.ndim not in (2, 3) or (attributes.ndim == 3 and attributes.shape[0] != face.shape[0]):
        raise ValueError(
            f"attributes: expected (V,C) or (N,V,C) with N = {face.shape[0]}, got {tuple(attributes.shape)}"
        )
    backend = backend_for(barycentrics)
    if backend == "reference":
        from . import reference

        return reference.interpolate(face, barycentrics, faces, attributes)
    from . import cpu

    if backend == "cpu":
        return cpu.interpolate(face, barycentrics, faces, attributes)
    # There is no device kernel of this operation: the host computes it and the result goes back.
    return cpu.interpolate(face.cpu(), barycentrics.cpu(), faces.cpu(), attributes.cpu()).to(attributes.device)


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
