"""The supersampled witnesses against areas worked out by hand and against the rasterizer; the table's bookkeeping."""

import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks import raster_gradients, supersample
from nerfkit.cameras import Cameras
from nerfkit.raster import interpolate_corners, rasterize


def camera(size: int) -> Cameras:
    """At the origin, looking along -z; the field of view is a right angle."""
    pose = torch.eye(4)[None, :3]
    return Cameras(pose, torch.tensor([[size / 2, size / 2, size / 2, size / 2]]), size, size)


def squares(*boxes: tuple[float, float, float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rectangles left, right, bottom, top of the picture (-1 to 1) at a depth."""
    corners = [
        torch.tensor([(x, y, -1.0) for x, y in ((a, c), (b, c), (b, d), (a, d))], dtype=torch.float64) * w
        for a, b, c, d, w in boxes
    ]
    two = torch.tensor([[0, 1, 2], [2, 3, 0]])
    return torch.cat(corners), torch.cat([two + 4 * k for k in range(len(boxes))])


def test_masks_are_areas() -> None:
    vertices, faces = squares((-0.7, 0.4, -0.2, 0.9, 2.0))
    edges = torch.linspace(-1, 1, 9, dtype=torch.float64)
    across = (edges[1:].clamp(max=0.4) - edges[:-1].clamp(min=-0.7)).clamp(min=0) * 4
    up = (edges[1:].clamp(max=0.9) - edges[:-1].clamp(min=-0.2)).clamp(min=0) * 4
    found = supersample.masks(vertices, faces, camera(8), 40)
    assert_close(found[0], up.flip(0)[:, None] * across, atol=0.02, rtol=0)


def test_colors_keep_the_nearer_surface() -> None:
    vertices, faces = squares((-0.9, 0.9, -0.9, 0.9, 3.0), (-0.5, 0.25, -0.9, 0.9, 2.0))
    colors = torch.tensor([0.2, 0.2, 0.7, 0.7])[:, None, None].expand(-1, 3, 1)
    found = supersample.colors(vertices, faces, colors, camera(8), 20)[0, 4, :, 0]
    assert_close(
        found, torch.tensor([0.12, 0.2, 0.7, 0.7, 0.7, 0.2, 0.2, 0.12], dtype=torch.float64), atol=0.02, rtol=0
    )


def test_colors_are_those_of_a_fine_hard_picture() -> None:
    subject = raster_gradients.torus_subject(2, torch.Generator().manual_seed(0))
    assert subject.colors is not None
    cameras, samples = raster_gradients.four_cameras(20), 6
    fragments = rasterize(subject.vertices.float(), subject.faces, cameras.resized(20 * samples, 20 * samples))
    fine = interpolate_corners(fragments, subject.colors.float())
    expected = fine.view(4, 20, samples, 20, samples, 3).mean((2, 4)).double()
    found = supersample.colors(subject.vertices, subject.faces, subject.colors, cameras, samples)
    assert (found - expected).abs().mean() < 1e-4
    assert (found > 0).float().mean() > 0.2


def small(monkeypatch: pytest.MonkeyPatch, shapes: int = 1) -> None:
    monkeypatch.setattr(raster_gradients, "SIZE", 24)
    for name, value in (("SHAPES", shapes), ("DIRECTIONS", 2), ("SAMPLES", 4)):
        monkeypatch.setattr(raster_gradients, name, dict.fromkeys(raster_gradients.SUBJECTS, value))


def test_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small(monkeypatch)
    monkeypatch.setattr(raster_gradients, "COSINE", 2.0)
    rows = raster_gradients.compare("patches", 3)
    assert [row["method"] for row in rows] == list(raster_gradients.SHARP)
    assert all(math.isfinite(row["cosine"]) and row["faces"] == 1280 for row in rows)
    assert [row["passed"] for row in rows] == [False, True, True]  # nothing has a cosine of 2
    assert raster_gradients.describe(rows[0]).endswith("*")
    assert raster_gradients.main(["cube"]) == 2
    assert "unknown row 'cube'" in capsys.readouterr().out


def test_peers_are_held_against_the_span_of_the_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, shapes=3)
    monkeypatch.setattr(raster_gradients, "PEERS", {"dibr": ((0.0, 1e9),) * 4, "edge_grad": ((0.98, 1.0),) * 4})
    monkeypatch.setattr(raster_gradients, "PEER", 1.0)
    rows = {row["method"]: row for row in raster_gradients.compare("near", 2)}
    (low, high), (least, most) = rows["dibr"]["span"]
    assert -1 <= low < high <= 1
    assert least < rows["dibr"]["slope"] < most
    assert "expected" not in rows["contour"]
    assert raster_gradients.describe(rows["dibr"]).endswith("0.000 1000000000.00 ~")
    assert raster_gradients.describe(rows["edge_grad"]).endswith("elsewhere 0.980 1.00")


def test_agreement_by_hand() -> None:
    cosine, slope = raster_gradients.agreement(torch.tensor([3.0, 4.0]), torch.tensor([6.0, 0.0]))
    assert (cosine, slope) == pytest.approx((0.6, 0.5))
