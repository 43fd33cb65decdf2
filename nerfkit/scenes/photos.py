"""Photos of any sizes, one after the other in one block of bytes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Photos:
    """N photos, each of its own size.

    Photo v owns the pixels ``offsets[v]`` to ``offsets[v + 1] - 1``, row by row.

    Attributes:
        pixels: (P,4) uint8, premultiplied RGBA.
        sizes: N pairs, height and width.
        ignored: (P,) bool, pixels that teach nothing and do not count; None: all do. Not to be confused with alpha 0,
            which says that nothing is there.
        folder: where the file is that is mapped into ``pixels``; None: they are in memory (``photo_store``).
    """

    pixels: Tensor
    sizes: tuple[tuple[int, int], ...]
    ignored: Tensor | None = None
    folder: str | None = None

    @classmethod
    def of(cls, photos: Tensor | Sequence[Tensor], ignored: Sequence[Tensor] | None = None) -> "Photos":
        """From pictures (H,W,4) uint8, or (N,H,W,4) of one size, and which of their pixels (H,W) to ignore."""
        sizes = tuple((int(photo.shape[0]), int(photo.shape[1])) for photo in photos)
        empty = torch.empty(0, 4, dtype=torch.uint8)
        pixels = photos.reshape(-1, 4) if isinstance(photos, Tensor) else _joined(photos, empty)
        return cls(pixels, sizes, None if ignored is None else _joined(ignored, torch.empty(0, dtype=torch.bool)))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, view: int) -> Tensor:
        """Photo ``view``, (H,W,4) uint8; a look at the same memory."""
        return self._of(self.pixels, view)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[view] for view in range(len(self)))

    def known(self, view: int) -> Tensor:
        """Which pixels of photo ``view`` count, (H,W) bool."""
        if self.ignored is None:
            return torch.ones(self.sizes[view], dtype=torch.bool, device=self.pixels.device)
        return ~self._of(self.ignored, view)

    def stack(self, views: Iterable[int] | None = None) -> Tensor:
        """Some photos, or all, (N,H,W,4) uint8.

        Raises:
            RuntimeError: they are of different sizes.
        """
        if views is None and len(set(self.sizes)) == 1:
            return self.pixels.view(len(self), *self.sizes[0], 4)
        return torch.stack([self[view] for view in (range(len(self)) if views is None else views)])

    @property
    def transparent(self) -> bool:
        """Whether a pixel that counts is not opaque."""
        return any(bool(((self[view][..., 3] < 255) & self.known(view)).any()) for view in range(len(self)))

    @cached_property
    def offsets(self) -> list[int]:
        """Where each photo's pixels begin, and after the last one P."""
        return list(accumulate((h * w for h, w in self.sizes), initial=0))

    def to(self, device: torch.device | str) -> "Photos":
        ignored = None if self.ignored is None else self.ignored.to(device)
        return replace(self, pixels=self.pixels.to(device), ignored=ignored)

    def _of(self, values: Tensor, view: int) -> Tensor:
        """Photo ``view``'s part of values of all pixels."""
        view = range(len(self))[view]
        return values[self.offsets[view] : self.offsets[view + 1]].view(*self.sizes[view], *values.shape[1:])


def _joined(pictures: Sequence[Tensor], empty: Tensor) -> Tensor:
    return torch.cat([empty, *(picture.reshape(-1, *empty.shape[1:]) for picture in pictures)])
