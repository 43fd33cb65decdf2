"""Isosurfaces of analytic densities."""

import math

import numpy as np
import pytest
import torch
from mesh_shapes import joined
from scipy import ndimage

from nerfkit.errors import ConfigError, SceneError
from nerfkit.mesh import lattice
from nerfkit.mesh.extract import default_level, extract_mesh
from nerfkit.mesh.lattice import fill_unreached, sample_lattice
from nerfkit.mesh.mesh import face_areas, signed_volume
from nerfkit.mesh.topology import topology_report

CENTER = torch.tensor([0.1, -0.05, 0.02])


def ball(radius: float, sharpness: float = 40.0, level: float = 10.0):  # type: ignore[no-untyped-def]
    """A density that is exactly ``level`` at ``radius`` from CENTER and falls outward."""
    return lambda p: level * torch.exp(sharpness * (radius - (p - CENTER).norm(dim=-1)))


def test_sphere_has_its_area_volume_and_radius() -> None:
    mesh = extract_mesh(ball(0.6), resolution=64, level=10.0)
    radius = (mesh.vertices - CENTER).norm(dim=-1)
    assert (radius - 0.6).abs().max() < 0.1 * 2 / 63, "a tenth of a cell"
    assert face_areas(mesh.vertices, mesh.faces).sum().item() == pytest.approx(4 * math.pi * 0.36, rel=0.01)
    assert signed_volume(mesh.vertices, mesh.faces).item() == pytest.approx(4 / 3 * math.pi * 0.216, rel=0.01)
    report = topology_report(mesh)
    assert report.watertight
    assert report.euler == 2


def test_chunks_leave_no_seam() -> None:
    whole = extract_mesh(ball(0.6), resolution=24, level=10.0, chunk=24**3)
    parts = extract_mesh(ball(0.6), resolution=24, level=10.0, chunk=101)
    assert torch.equal(whole.vertices, parts.vertices)
    assert torch.equal(whole.faces, parts.faces)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("closing", [0, 2])
def test_slabs_leave_no_seam(planes: int, closing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random sponge: what is reached from outside winds through many slabs."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(1, 1, 9, 9, 9, generator=generator)
    occupancy = torch.rand(6, 6, 6, generator=generator) > 0.3

    def sponge(p: torch.Tensor) -> torch.Tensor:
        return 30 * torch.nn.functional.grid_sample(grid, p[None, None, None], align_corners=True)[0, 0, 0, 0]

    def found() -> torch.Tensor:
        mesh = extract_mesh(sponge, resolution=22, level=15.0, closing=closing, occupancy=occupancy)
        return mesh.vertices[mesh.faces]

    whole = found()
    assert len(whole) < len(extract_mesh(sponge, resolution=22, level=15.0, closing=None, occupancy=occupancy).faces)
    monkeypatch.setattr(lattice, "SLAB", planes * 24**2)
    assert torch.equal(found(), whole)


@pytest.mark.parametrize(("solid", "closing"), [(0.7, 0), (0.04, 1), (0.01, 2)])
@pytest.mark.parametrize("planes", [1, 5, 100])
def test_what_is_not_reached_in_noise(solid: float, closing: int, planes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against SciPy's dilation and labels of the whole; more and fewer parts than a byte can number."""
    monkeypatch.setattr(lattice, "SLAB", planes * 26**2)
    opacity = (torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(1)) < solid).float().numpy()
    cube = np.ones((2 * closing + 1,) * 3, bool)
    labels, count = ndimage.label(np.pad(~ndimage.binary_dilation(opacity > 0, cube), 1, constant_values=True))
    near = ndimage.binary_dilation((labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1], cube)
    expected = np.where(near, opacity, 1)
    assert (count > 256) == (closing == 0) and count > 1 and 0 < expected.mean() < 1
    fill_unreached(opacity, closing)
    assert np.array_equal(opacity, expected)


def test_axes_are_x_y_z() -> None:
    mesh = extract_mesh(lambda p: 50.0 * (p.abs() < torch.tensor([0.8, 0.5, 0.2])).all(-1), resolution=41, level=5.0)
    assert torch.allclose(mesh.vertices.amax(0), torch.tensor([0.8, 0.5, 0.2]), atol=0.05)
    assert torch.allclose(mesh.vertices.amin(0), -torch.tensor([0.8, 0.5, 0.2]), atol=0.05)


def test_surface_closes_at_the_box() -> None:
    mesh = extract_mesh(lambda p: torch.full_like(p[:, 0], 1000.0), resolution=9, level=1.0)
    assert topology_report(mesh).watertight
    assert mesh.vertices.abs().max() <= 1
    assert signed_volume(mesh.vertices, mesh.faces).item() == pytest.approx(8, rel=0.4)


def shell(p: torch.Tensor) -> torch.Tensor:
    radius = p.norm(dim=-1)
    return 100.0 * ((radius < 0.7) & (radius > 0.4))


def test_cavities_are_filled_on_request() -> None:
    hollow = topology_report(extract_mesh(shell, resolution=40, level=5.0, closing=None))
    solid = topology_report(extract_mesh(shell, resolution=40, level=5.0))
    assert (hollow.components, solid.components) == (2, 1)
    assert solid.watertight


def test_a_cup_is_not_a_cavity() -> None:
    """What a path from outside reaches stays empty."""
    drilled = extract_mesh(
        lambda p: shell(p) * ~((p[:, :2].norm(dim=-1) < 0.15) & (p[:, 2] > 0)), resolution=40, level=5.0
    )
    assert drilled.vertices.norm(dim=-1).min() < 0.45


def test_what_lies_behind_a_pinhole_is_filled_and_a_wide_opening_is_not() -> None:
    def drilled(width: float):  # type: ignore[no-untyped-def]
        def density(p: torch.Tensor) -> torch.Tensor:
            return shell(p) * ~((p[:, :2].abs().amax(-1) < width) & (p[:, 2] > 0))

        return density

    cell = 2 / 39
    narrow, wide = drilled(1.1 * cell), drilled(3.1 * cell)  # two and six lattice points wide
    assert extract_mesh(narrow, resolution=40, level=5.0, closing=0).vertices.norm(dim=-1).min() < 0.45
    assert extract_mesh(narrow, resolution=40, level=5.0, closing=1).vertices.norm(dim=-1).min() > 0.6
    assert extract_mesh(wide, resolution=40, level=5.0, closing=1).vertices.norm(dim=-1).min() < 0.45


def test_filling_does_not_move_the_outside() -> None:
    hollow = extract_mesh(shell, resolution=40, level=5.0, closing=None).vertices
    outside = hollow[hollow.norm(dim=-1) > 0.55]
    solid = extract_mesh(shell, resolution=40, level=5.0).vertices
    assert torch.equal(outside.unique(dim=0), solid.unique(dim=0))


def test_occupancy_skips_empty_space_and_changes_nothing_else() -> None:
    calls = []

    def counted(p: torch.Tensor) -> torch.Tensor:
        calls.append(len(p))
        return ball(0.3)(p)

    grid = 16
    cell = (torch.arange(grid) + 0.5) / grid * 2 - 1
    centers = torch.stack(torch.meshgrid(cell, cell, cell, indexing="ij"), -1)
    occupancy = (centers - CENTER).norm(dim=-1) < 0.42
    skipped = extract_mesh(counted, resolution=33, level=10.0, occupancy=occupancy)
    whole = extract_mesh(ball(0.3), resolution=33, level=10.0)
    assert sum(calls) < 0.2 * 33**3
    assert torch.equal(skipped.vertices, whole.vertices)
    assert torch.equal(skipped.faces, whole.faces)


def test_two_balls_are_two_parts() -> None:
    def two(p: torch.Tensor) -> torch.Tensor:
        offset = torch.tensor([0.5, 0.0, 0.0])
        return 50.0 * (((p - offset).norm(dim=-1) < 0.3) | ((p + offset).norm(dim=-1) < 0.3))

    mesh = extract_mesh(two, resolution=33, level=5.0)
    assert topology_report(mesh).components == 2
    assert topology_report(joined(mesh, mesh)).components == 4


def test_lattice_and_progress() -> None:
    seen: list[float] = []
    values = sample_lattice(lambda p: p @ torch.tensor([100.0, 10, 1]), 5, chunk=50, progress=seen.append)
    assert values[0, 0, 0] == pytest.approx(-111)
    assert values[4, 2, 0] == pytest.approx(99)
    assert seen == [50 / 125, 100 / 125, 1.0]


def test_default_level_blocks_half_over_four_cells() -> None:
    assert 1 - math.exp(-default_level(101) * 4 * 0.02) == pytest.approx(0.5)


def test_bad_fields_and_settings_are_refused() -> None:
    with pytest.raises(SceneError, match=r"reaches 1 at most, never the level 5"):
        extract_mesh(lambda p: torch.ones(len(p)), resolution=8, level=5.0)
    with pytest.raises(SceneError, match="NaN"):
        extract_mesh(lambda p: p[:, 0] * math.nan, resolution=8)
    with pytest.raises(ConfigError, match=r"extract\.resolution"):
        extract_mesh(shell, resolution=1025)
    with pytest.raises(ConfigError, match=r"extract\.level"):
        extract_mesh(shell, resolution=8, level=0.0)
    with pytest.raises(SceneError, match="reaches 0 at most"):
        extract_mesh(shell, resolution=8, occupancy=torch.zeros(4, 4, 4, dtype=torch.bool))
