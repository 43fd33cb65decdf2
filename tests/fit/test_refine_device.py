"""The mesh stage with ``device=cuda``: the device's kernels draw every picture, and the CPU's result comes out."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfkit.fit.specular import Specular
from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh_stage import refine_stage
from nerfkit.options import compose
from nerfkit.results import mesh_source, new_fit
from nerfkit.runs.folder import Run
from nerfkit.scenes import Scene, open_scene
from tests.dry_run import GpuTensor, dry_run
from tests.fit.test_field import SMALL
from tests.fit.test_refine import ball
from tests.scenes.builders import ring, write_kaolin

WORDS = (
    *("field.width=32", "field.precision=fp32", "sampler.resolution=8", "sampler.step_size=0.2"),
    *("refine.steps=4", "refine.texture=64", "refine.remesh=1", "refine.faces=60"),
    *("refine.views_per_step=2", "refine.depth_weight=0.1", "refine.specular=true", "refine.specular_steps=2"),
    *("refine.specular_gain=-100", "refine.specular_lobes=2"),
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("sphere") / "views"
    return open_scene("kaolin", write_kaolin(folder, ring(8)), holdout=8, resolution=16)


def refined(scene: Scene, folder: Path, device: str) -> tuple[Mesh, Specular, dict[str, Any]]:
    """What the stage makes of a ball, and its metrics."""
    config = compose("train", ["scene=kaolin", *SMALL, "trainer.max_steps=1", *WORDS])
    record = Run(folder)
    model = new_fit(config, scene, record, torch.device(device)).average
    mesh, specular = refine_stage(ball((0.5, 0.5, 0.5), 1), model, config, scene, record)
    assert specular is not None
    return mesh, specular, record.metrics()["mesh"]


def tensors(mesh: Mesh, specular: Specular) -> list[Tensor]:
    return [t for part in (mesh, specular) for t in vars(part).values() if isinstance(t, Tensor)]


@pytest.mark.skipif("NERFKIT_SLOWEST" not in os.environ, reason="takes minutes; `make gpu-dry` runs it")
@pytest.mark.interpreted
def test_the_mesh_stage_runs_on_the_device(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = refined(scene, tmp_path / "cpu", "cpu")
    from nerfkit.kernels.rasterize import cpu

    monkeypatch.setattr(cpu, "forward", None)  # nothing may be drawn here
    with dry_run() as counts:
        mesh, specular, found = refined(scene, tmp_path / "device", "cuda")
        assert not any(isinstance(t, GpuTensor) for t in tensors(mesh, specular))
        for kernel in ("tile_kernel", "pixel_kernel", "gather_kernel", "slopes_kernel", "render_kernel"):
            assert counts.triton[kernel] > 0, counts.triton
    assert found["psnr"] == pytest.approx(on_cpu[2]["psnr"], abs=0.05)
    assert found["psnr_specular"] == pytest.approx(on_cpu[2]["psnr_specular"], abs=0.05)
    assert found["coarse"]["psnr"] == pytest.approx(on_cpu[2]["coarse"]["psnr"], abs=1e-3)


def test_an_exported_mesh_is_shown_on_the_device(scene: Scene, tmp_path: Path) -> None:
    save_mesh(ball((0.5, 0.5, 0.5), 1), tmp_path / "mesh" / "mesh", ("ply",))
    with dry_run():
        source, _ = mesh_source(Run(tmp_path), scene, torch.device("cuda"))
        assert source.mesh.vertices.is_cuda  # type: ignore[attr-defined]
