"""Finds the real data sets, which are not part of the repository."""

import os
from pathlib import Path

import pytest


def data_folder(name: str) -> Path:
    """The folder of a real data set; skips the test where there is none."""
    root = Path(os.environ.get("NERFKIT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (root / name).is_dir():
        pytest.skip(f"the data set {name} is not at {root}; NERFKIT_DATA names another place")
    return root / name
