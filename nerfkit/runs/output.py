"""Where runs go: whether something can be kept there, a new run's folder, and ``latest``, which names the newest."""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from nerfkit.errors import ConfigError
from nerfkit.runs.files import LATEST, write_text


def check_output(folder: str | Path) -> None:
    """Checks that ``folder``, which need not be there yet, can be made and written; leaves nothing there.

    Raises:
        ConfigError: it or what stands above it is no folder, or cannot be written.
        OSError: the disk is full.
    """
    folder = Path(os.path.expanduser(folder))
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    reason = "is not a folder"
    if place.is_dir():
        try:
            with tempfile.TemporaryDirectory(prefix=".nerfkit_", dir=place):  # os.access says yes to root everywhere
                return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = f"cannot be written ({error.strerror})"
    raise ConfigError(f"{place} {reason}, so nothing can be kept in {folder}; choose another place: output=FOLDER")


def new_folder(parent: Path, name: str) -> Path:
    """Makes ``parent/NAME``, or ``NAME_2`` and so on where another run has that, and returns it."""
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)  # a run that is discarded may just remove the parent
        except FileExistsError:  # another run started in the same second
            continue
        return folder
    raise FileExistsError(f"{parent / name}: a thousand runs in one second")


def point_latest(parent: Path, name: str) -> None:
    """``latest`` becomes a text file with ``name``: a link would be a second run to TensorBoard."""
    write_text(parent / LATEST, name)


def remove_folder(folder: Path) -> None:
    """Removes a run's folder; ``latest`` points to the newest that is left, or goes too."""
    parent = folder.parent
    shutil.rmtree(folder, ignore_errors=True)
    others = sorted(path.parent.name for path in parent.glob("*/config.yaml") if path.parent.name != LATEST)
    if others:
        point_latest(parent, others[-1])
    else:
        (parent / LATEST).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another run is just starting there
            parent.rmdir()
