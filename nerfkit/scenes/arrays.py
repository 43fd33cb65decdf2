"""Arrays of numbers from NumPy's .npy and .npz files of strangers; nothing in them is ever executed."""

import numpy as np

from nerfkit.errors import SceneError, problem
from nerfkit.runs.archives import array_of, arrays_of
from nerfkit.scenes.files import Source

REMEDY = "Copy or export the file again."


def npy(source: Source, name: str, finite: bool = True) -> np.ndarray:
    """The array of a .npy file, float64.

    Raises:
        SceneError: the file is missing or damaged, or holds anything but numbers, or not ``finite`` ones where they are
            to be.
    """
    where = source.where(name)
    try:
        content = array_of(source.read(name))
    except SceneError:
        raise
    except Exception as error:  # a damaged header raises a dozen unrelated types
        raise _unreadable(where, error, "an intact .npy file") from error
    return _numbers(content, where, finite)


def npz(source: Source, name: str, prefixes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file whose names begin with one of ``prefixes``, float64.

    Raises:
        SceneError: the file is missing or damaged, or one of them holds anything but finite numbers.
    """
    where = source.where(name)
    try:
        found = arrays_of(source.read(name), prefixes)
    except SceneError:
        raise
    except Exception as error:
        raise _unreadable(where, error, "an intact .npz file") from error
    return {key: _numbers(value, f"{where}, {key}") for key, value in found.items()}


def _unreadable(where: str, error: Exception, expected: str) -> SceneError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return problem(where, f"cannot be read ({reason})", expected, REMEDY)


def _numbers(value: np.ndarray, where: str, finite: bool = True) -> np.ndarray:
    """An array of numbers, float64, which are to be ``finite``."""
    if value.dtype.kind not in "fiu":
        raise problem(where, f"holds {value.dtype}", "an array of numbers", REMEDY)
    array = value.astype(np.float64)
    if finite and not np.isfinite(array).all():
        raise problem(where, "contains NaN or infinity", "finite numbers", REMEDY)
    return array
