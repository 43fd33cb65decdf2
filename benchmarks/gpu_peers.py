"""Other projects' code on the same work, where it can be imported: installed, or in the folder NERFKIT_PEERS."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

import torch
from torch import Tensor

from benchmarks import composite
from benchmarks.gpu_limits import NotRunError


def imported(name: str) -> ModuleType:
    """The module.

    Raises:
        NotRunError: it cannot be imported; the message says what is missing.
    """
    folder = os.environ.get("NERFKIT_PEERS")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or name
        package = name.partition(".")[0]
        raise NotRunError("not importable" if missing == package else f"not importable without {missing}") from None


def nerfacc(inputs: composite.Inputs) -> Callable[[], object]:
    """NerfAcc's compositing of packed samples, forward and backward; it has no early stop, and counts every sample."""
    volrend = imported("nerfacc.volrend")
    density, color, t_start, t_end, offsets = inputs
    rays = len(offsets) - 1
    ray_index = torch.repeat_interleave(offsets.diff(), output_size=len(density))  # (S,)

    def pixels(*_: Tensor) -> list[Tensor]:
        weights = volrend.render_weight_from_density(t_start, t_end, density, ray_indices=ray_index, n_rays=rays)[0]
        summed = volrend.accumulate_along_rays(weights, color, ray_indices=ray_index, n_rays=rays)  # (R, 3)
        return [summed, volrend.accumulate_along_rays(weights, None, ray_indices=ray_index, n_rays=rays)[:, 0]]

    return composite.step(pixels, inputs)


PEERS: Mapping[str, Callable[[composite.Inputs], Callable[[], object]]] = {"nerfacc": nerfacc}
