"""Nothing that a caller can hand to a kernel brings the process down."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from nerfkit.kernels.composite import composite
from nerfkit.kernels.interpolate import interpolate
from nerfkit.kernels.march import Samples, positions, stratified
from tests.dry_run import Counts, dry_run


@pytest.mark.slow
def test_bad_numbers_do_not_crash_the_process() -> None:
    command = [sys.executable, "-m", "tests.kernels.fuzz", "0", "300"]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{found.returncode}\n{found.stdout}\n{found.stderr}"


def test_offsets_and_rays_out_of_range_are_refused() -> None:
    depth = torch.linspace(1, 2, 5)
    with pytest.raises(ValueError, match="offsets: expected never to fall, got 10000000 then 5 at ray 1"):
        composite(depth, torch.rand(5, 3), depth, depth, torch.tensor([0, 10**7, 5]))
    samples = Samples(torch.tensor([0, 0, 2, 1, 1]), depth, depth, torch.tensor([0, 2, 5]))
    with pytest.raises(ValueError, match=r"samples.ray_index: expected numbers in \[0, 2\), got 0 to 2"):
        positions(samples, torch.zeros(2, 3), torch.ones(2, 3))


@pytest.mark.interpreted
def test_a_gpu_is_waited_for_once_a_tensor_and_not_for_what_kernels_made() -> None:
    def waits(call: Callable[[], object], counts: Counts) -> int:
        counts.clear()
        call()
        return len(counts.waits)

    with dry_run() as counts:
        depth, color = torch.linspace(1, 2, 5, device="cuda"), torch.rand(5, 3, device="cuda")
        offsets = torch.tensor([0, 3, 2, 5], device="cuda")
        for _ in range(2):  # a refused one is looked at again
            with pytest.raises(ValueError, match="never to fall, got 3 then 2 at ray 1"):
                composite(depth, color, depth, depth, offsets)
        offsets[1] = 1
        rays = torch.zeros(3, 3, device="cuda"), torch.ones(3, 3, device="cuda")
        call = partial(composite, depth, color, depth, depth, offsets)
        assert waits(call, counts) > 0 and waits(call, counts) == 0
        offsets[1] = 2
        assert waits(call, counts) > 0 and waits(call, counts) == 0

        near = torch.zeros(3, device="cuda")
        made = stratified(near, near + 1, 2)
        assert waits(lambda: positions(made, *rays), counts) == 0
        mine = made._replace(ray_index=made.ray_index + 1)
        with pytest.raises(ValueError, match=r"samples.ray_index: expected numbers in \[0, 3\), got 1 to 3"):
            positions(mine, *rays)

        face = torch.full((1, 2, 2), 7, dtype=torch.int32, device="cuda")
        corners, faces = torch.rand(1, 2, 2, 3, device="cuda"), torch.tensor([[0, 1, 2]], device="cuda")
        with pytest.raises(ValueError, match="face: expected numbers below 1, the number of faces, got 7"):
            interpolate(face, corners, faces, color)
