"""Nothing that a caller can hand to a kernel brings the process down."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerfkit.kernels.composite import composite
from nerfkit.kernels.march import Samples, positions


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
