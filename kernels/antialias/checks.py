"""What both antialiasings check of their input."""

from torch import Tensor


def of_views(name: str, rows: Tensor, width: int, views: int) -> Tensor:
    """``rows``, (R,width) or (N,R,width) integers, as (M,R,width) int64, M one or the number of views.

    Raises:
        ValueError: another shape or dtype.
    """
    found = tuple(rows.shape)
    rows = rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or rows.shape[0] not in (1, views) or rows.shape[2] != width or rows.is_floating_point():
        raise ValueError(f"{name}: expected integers of shape (*,{width}) or ({views},*,{width}), got {found}")
    return rows.long()
