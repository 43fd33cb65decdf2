"""On a GPU: the kernels' GPU tests first, then each kernel's time against the same PyTorch code run eagerly.

A run whose tests pass is noted in ``results/gpu_status.json`` (see ``status.py``). Without a GPU nothing is written.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks import composite, measure, status
from nerfkit.kernels import use
from nerfkit.kernels.march import intersect_box, march
from nerfkit.kernels.sample_rays import sample_rays


def run_tests(report: Path) -> int:
    """Run the tests marked ``gpu`` into a JUnit ``report``; pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/kernels", f"--junitxml={report}"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(command, cwd=status.ROOT, env=environment, check=False).returncode


def verified_kernels(report: Path, root: Path = status.ROOT) -> list[str]:
    """Kernels with a GPU source whose files ``test_NAME.py``, ``test_NAME_*.py`` passed a test and failed none."""
    with_source = {path.parent.name for path in status.sources(root)}
    passed, failed = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):
        tested = case.get("classname", "").rpartition(".test_")[2]
        kernel = max((name for name in with_source if f"{tested}_".startswith(f"{name}_")), key=len, default=None)
        if kernel is None:
            continue
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(kernel)
        elif case.find("skipped") is None:
            passed.add(kernel)
    return sorted(passed - failed)


def with_reference(function: Callable[[], object]) -> Callable[[], object]:
    """The same call answered by the PyTorch reference."""

    def run() -> object:
        with use("reference"):
            return function()

    return run


def sample_rays_contestants(device: str = "cuda") -> dict[str, Callable[[], object]]:
    """16,384 rays from 100 views of 800 x 800 pixels."""
    camera_to_world = torch.eye(3, 4, device=device).expand(100, 3, 4).contiguous()
    intrinsics = torch.tensor([1111.0, 1111.0, 400.0, 400.0], device=device).expand(100, 4).contiguous()

    def run() -> object:
        return sample_rays(camera_to_world, intrinsics, 800, 800, 16_384, seed=0, step=0)

    return {"kernel": run, "pytorch": with_reference(run)}


def march_contestants(device: str = "cuda") -> dict[str, Callable[[], object]]:
    """16,384 rays into a 64^3 grid that holds a ball of radius 1/2, 256 steps across the box."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(16_384, 3, generator=generator), dim=-1) * 3  # (R, 3)
    targets = torch.rand(16_384, 3, generator=generator) - 0.5  # (R, 3)
    directions = torch.nn.functional.normalize(targets - origins, dim=-1).to(device)  # (R, 3)
    origins = origins.to(device)
    near, far = intersect_box(origins, directions)
    axis = (torch.arange(64, device=device) + 0.5) / 32 - 1  # (G,)
    squared = axis.square()
    occupancy = squared[:, None, None] + squared[:, None] + squared < 0.25  # (G, G, G)

    def run() -> object:
        return march(origins, directions, near, far, occupancy, 2 / 256)

    return {"kernel": run, "pytorch": with_reference(run)}


CASES: Mapping[str, Callable[[], Mapping[str, Callable[[], object]]]] = {
    "sample_rays, 16k rays": sample_rays_contestants,
    "march, 16k rays, 64^3 grid": march_contestants,
    "composite, 15k rays of 0 to 13": lambda: composite.contestants(
        composite.packed_inputs(composite.training_rays(), "cuda")
    ),
    "composite, 1k rays of 128": lambda: composite.contestants(
        composite.packed_inputs(composite.lockstep_rays(), "cuda")
    ),
}


def main(argv: list[str]) -> int:
    """Tests, then medians into ``results/gpu.json``. Exit code 1 where a test fails; then nothing is timed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--repeats", type=int, default=50, help="timed runs of each")
    arguments = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("not run: no GPU")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = run_tests(report)
        kernels = verified_kernels(report) if report.exists() else []
    if code != 0 or not kernels:
        print(f"the GPU tests did not pass (pytest's exit code {code}); nothing was timed or noted", file=sys.stderr)
        return 1
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    status.record_verified(kernels, torch.cuda.get_device_name(), today)
    results = {}
    for name, contestants in CASES.items():
        results[name] = measure.medians(contestants(), repeats=arguments.repeats, device="cuda")
        measure.print_medians(name, results[name])
    print(f"saved {measure.save('gpu', results)}")
    return status.main([])
