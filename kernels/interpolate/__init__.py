"""Interpolation of vertex attributes over fragments: a(pixel) = b_0 a[v_0] + b_1 a[v_1] + b_2 a[v_2]."""

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
