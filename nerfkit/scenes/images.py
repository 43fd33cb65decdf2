"""From image files to premultiplied RGBA at the working resolution, a view at a time, so that memory stays small."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from nerfkit.errors import problem
from nerfkit.kernels.jit import jit
from nerfkit.runs.pictures import WITHOUT, DepthError, ExtraError, decode_picture, open_picture, reason
from nerfkit.runs.progress import track
from nerfkit.scenes.photo_store import BUDGET, PhotoStore
from nerfkit.scenes.photos import Photos

Loaded = TypeVar("Loaded")


class Picture(NamedTuple):
    """One view as stored.

    ``rgba`` (H,W,4) uint8: color, and the fraction of the pixel that the object covers. ``weight`` (H,W) uint8: what
    premultiplies the color; alpha itself where alpha is straight, 255 where the picture was rendered over black and so
    is premultiplied already.
    """

    rgba: np.ndarray
    weight: np.ndarray


def straight(rgba: np.ndarray) -> Picture:
    """The picture of an RGBA image with straight alpha."""
    return Picture(rgba, rgba[..., 3])


def decode(data: bytes, where: str, mode: str = "RGBA") -> np.ndarray:
    """An image file's pixels: (H,W,4) uint8 with straight alpha for ``mode`` "RGBA", (H,W) uint8 for "L".

    16-bit channels become 8-bit ones. What EXIF says of how a camera was held does not turn the picture: poses do.

    Raises:
        SceneError: the bytes are no complete image, or its numbers are no 8 or 16-bit ones.
    """
    with _refused(data, where):
        return decode_picture(data, mode, where)


def stored_size(data: bytes, where: str) -> tuple[int, int]:
    """Width and height of an image file's pixels, from its header; EXIF does not turn it.

    Raises:
        SceneError: the bytes are no image.
    """
    with _refused(data, where), open_picture(data, where) as image:
        return image.size


@contextlib.contextmanager
def _refused(data: bytes, where: str) -> Iterator[None]:
    """Turns whatever is raised for a file that is no picture into the one message on it."""
    whole, again = "a complete PNG or JPEG", "Copy or export it again."
    try:
        yield
    except DepthError as error:
        raise problem(where, str(error), "8 or 16 bits a channel", "Export it again as PNG or JPEG.") from None
    except ExtraError as error:
        raise problem(where, str(error), *WITHOUT) from None
    except Exception as error:  # decoders raise a dozen unrelated types for damaged files
        wrong = f"cannot be decoded ({reason(error)})" if data else "the file is empty"
        raise problem(where, wrong, whole, again) from error


def working_size(height: int, width: int, resolution: int | None) -> tuple[int, int]:
    """Height and width whose longer side is ``resolution``; never larger than stored, aspect kept to the pixel."""
    longer = max(height, width)
    if resolution is None or resolution >= longer:
        return height, width
    return max(1, round(height * resolution / longer)), max(1, round(width * resolution / longer))


@jit(parallel=False)
def _box(rgba: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Writes into ``out`` (h,w,4) the area-weighted means of ``rgba * weight`` (color) and of alpha, rounded."""
    height, width = weight.shape
    step_y, step_x = height / out.shape[0], width / out.shape[1]
    for i in range(out.shape[0]):
        top, bottom = i * step_y, (i + 1) * step_y
        for j in range(out.shape[1]):
            left, right = j * step_x, (j + 1) * step_x
            red = green = blue = alpha = 0.0
            for y in range(int(top), min(int(np.ceil(bottom)), height)):
                share_y = min(bottom, y + 1.0) - max(top, float(y))
                for x in range(int(left), min(int(np.ceil(right)), width)):
                    share = share_y * (min(right, x + 1.0) - max(left, float(x)))
                    alpha += share * rgba[y, x, 3]
                    share *= weight[y, x] / 255.0
                    red += share * rgba[y, x, 0]
                    green += share * rgba[y, x, 1]
                    blue += share * rgba[y, x, 2]
            area = step_y * step_x
            out[i, j, 0] = np.uint8(red / area + 0.5)
            out[i, j, 1] = np.uint8(green / area + 0.5)
            out[i, j, 2] = np.uint8(blue / area + 0.5)
            out[i, j, 3] = np.uint8(alpha / area + 0.5)


def shrink(picture: Picture, height: int, width: int) -> np.ndarray:
    """Box-filtered, premultiplied copy of a picture, (height,width,4) uint8.

    out = sum_p a_p (weight_p color_p, alpha_p) / sum_p a_p, with a_p the area of stored pixel p in the output pixel,
    so ratios need not be whole; rounded to the nearest of 256 levels.
    """
    out = np.empty((height, width, 4), np.uint8)
    _box(np.ascontiguousarray(picture.rgba), np.ascontiguousarray(picture.weight), out)
    return out


def load_views(
    count: int, read: Callable[[int], Picture], resolution: int | None, title: str, memory_gb: float = BUDGET
) -> tuple[Photos, list[tuple[int, int]]]:
    """Read, premultiply and shrink every view in a few threads, with a progress bar.

    Args:
        read: view number -> its picture; called from threads.
        resolution: longer side of each photo in pixels; None keeps the stored sizes.
        memory_gb: as ``PhotoStore``.

    Returns:
        the photos, and their stored heights and widths.

    Raises:
        SceneError: from ``read``, or there is no room for so many photos.
    """

    def load(view: int) -> tuple[np.ndarray, tuple[int, int]]:
        picture = read(view)
        height, width = picture.weight.shape
        return shrink(picture, *working_size(height, width, resolution)), (height, width)

    store, stored = PhotoStore(count, memory_gb, title), []
    for pixels, size in in_threads(load, count, f"reading {title}"):
        store.add(pixels)
        stored.append(size)
    return store.photos(), stored


def in_threads(load: Callable[[int], Loaded], count: int, title: str) -> Iterator[Loaded]:
    """``load`` of 0 to ``count`` - 1, in order, in a few threads, with a progress bar of that title.

    The threads run ahead of who takes the results by a few at most.
    """
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:

        def results() -> Iterator[Loaded]:
            waiting = deque(pool.submit(load, number) for number in range(min(2 * workers, count)))
            for number in range(2 * workers, count + 2 * workers):
                yield waiting.popleft().result()
                if number < count:
                    waiting.append(pool.submit(load, number))

        try:
            yield from track(results(), count, title)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
