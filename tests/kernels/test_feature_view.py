"""A view of a feature field: the CPU against the oracle, the oracle against float64, threads, and what is refused."""

import math

import numba
import pytest
import torch
from torch import Tensor

from nerfkit.cameras import look_at
from nerfkit.kernels import use
from nerfkit.kernels.composite import Rendered
from nerfkit.kernels.feature_field import FeatureSpec, FeatureWeights, PlaneSpec, Spec
from nerfkit.kernels.feature_view import Surface, feature_view, mirrored
from tests.kernels.test_feature_field import make_weights

SPECS: dict[str, tuple[Spec, int]] = {
    "default": (FeatureSpec(), 32),
    "padded": (FeatureSpec(levels=3, features=4, log2_table=8, coarsest=3, finest=20), 13),
    "planes": (PlaneSpec(), 32),
    "few cells of planes": (PlaneSpec(levels=2, features=16, coarsest=1, finest=3), 5),
}
STOP = 1 / 512


def camera(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """From beside the box to its middle: rays pass it, hit it, and one in the middle column stands still along x."""
    pose = look_at(torch.tensor([[0.0, 1.1, 2.6]]), torch.tensor([[0.0, 0.1, 0.0]]), torch.tensor([0.0, 1.0, 0.0]))[0]
    return pose.to(dtype), torch.tensor([30.0, 31.0, 14.5, 12.0], dtype=dtype)


def ball(side: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The distance (side,side,side) from a sphere of radius 0.6."""
    line = torch.linspace(-1, 1, side, dtype=dtype)
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1) - 0.6


def cells(size: int) -> Tensor:
    """Cells (size,size,size) of a thick shell around that sphere, with holes."""
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    return ((x**2 + y**2 + z**2).sqrt() - 0.6).abs().lt(0.25) & (((20 * x).long() + (20 * y).long()) % 5 != 1)


def dense(spec: Spec, width: int, mirrors: bool = False) -> FeatureWeights:
    """Such that a ray ends within some ten steps."""
    weights = make_weights(spec, width, mirrors=mirrors)
    weights.density[1].add_(2.5)
    return weights


def view(backend: str, name: str, surface: bool, size: tuple[int, int] = (23, 29), least: float = 0.05) -> Rendered:
    spec, width = SPECS[name]
    given = Surface(ball(17), 0.02, least) if surface else None
    with use(backend):
        return feature_view(
            *camera(), *size, cells(24), 0.03, dense(spec, width, surface), spec, given, early_stop=STOP
        )


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_cpu_agrees(name: str, surface: bool) -> None:
    found, expected = view("cpu", name, surface), view("reference", name, surface)
    assert 0.2 < (expected.opacity > 0.9).float().mean() < 1
    for part, oracle in zip(found, expected, strict=True):
        # A sample that one of the two takes for the last one that is seen has a weight of STOP at the most.
        assert (part - oracle).abs().quantile(0.95) < 2e-5
        torch.testing.assert_close(part, oracle, rtol=0, atol=5 * STOP)


@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize("size", [(0, 7), (1, 1), (2, 257)])
def test_any_size(size: tuple[int, int], surface: bool) -> None:
    found, expected = view("cpu", "padded", surface, size), view("reference", "padded", surface, size)
    for part, oracle in zip(found, expected, strict=True):
        assert part.shape == oracle.shape and len(part) == size[0] * size[1]
        torch.testing.assert_close(part, oracle, rtol=0, atol=5 * STOP)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("surface", [False, True])
def test_threads_do_not_matter(surface: bool) -> None:
    results, before = [], numba.get_num_threads()
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(view("cpu", "padded", surface, (40, 50)))
    finally:
        numba.set_num_threads(before)
    for one, all_of_them in zip(*results, strict=True):
        assert torch.equal(one, all_of_them)


def test_a_ball_is_seen_where_it_is() -> None:
    """A sharp sphere along an axis: opaque, at its distance, and black in front of nothing."""
    spec, width = SPECS["padded"]
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3]])  # the second pixel looks past it
    everywhere = torch.ones(16, 16, 16, dtype=torch.bool)
    color, opacity, depth = feature_view(
        pose, torch.tensor([3.0, 3.0, 0.5, 0.5]), 1, 2, everywhere, 0.01, make_weights(spec, width, mirrors=True), spec,
        Surface(ball(65), 0.002, 0.05), early_stop=STOP,
    )  # fmt: skip
    assert opacity[0] == 1 and color[0].min() > 0
    assert depth[0].item() == pytest.approx(2.4, abs=0.02)
    assert max(color[1].max(), opacity[1], depth[1]) < 1e-30  # the kernel's exponential does not fall below exp(-87)


def test_colors_left_out_are_those_of_the_others() -> None:
    """Opacity and depth are of all samples, whatever ``least``; the colors of what is left out are a small share."""
    every, some = (view("cpu", "padded", True, least=least) for least in (0.0, 0.05))
    assert torch.equal(every.opacity, some.opacity) and torch.equal(every.depth, some.depth)
    assert 0 < (every.color - some.color).abs().max() < 0.1


def test_what_is_not_a_number_stays_in_its_ray() -> None:
    spec, width = SPECS["padded"]
    nodes = ball(17)
    nodes[8, 8, 13] = math.nan
    with use("cpu"):
        found = feature_view(
            *camera(), 23, 29, cells(24), 0.03, make_weights(spec, width, mirrors=True), spec,
            Surface(nodes, 0.02, 0.05), early_stop=STOP,
        )  # fmt: skip
    bad = found.opacity.isnan()
    assert 0 < bad.sum() < 100 and torch.equal(bad, found.color.isnan().all(-1))


def test_mirrored() -> None:
    view_direction = torch.tensor([[0.6, -0.8, 0.0]])
    torch.testing.assert_close(mirrored(view_direction, torch.tensor([[0.0, 5, 0]])), torch.tensor([[0.6, 0.8, 0]]))
    torch.testing.assert_close(mirrored(view_direction, torch.zeros(1, 3)), view_direction)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"occupancy": torch.ones(4, 4, 3, dtype=torch.bool)}, "occupancy"),
        ({"step_size": 0.0}, "step_size"),
        ({"early_stop": 0.0}, "early_stop"),
        ({"surface": Surface(torch.zeros(3, 3, 2), 0.1, 0.1)}, "weights.direction|surface.nodes"),
        ({"camera_to_world": torch.zeros(4, 4)}, "camera_to_world"),
        ({"intrinsics": torch.zeros(3)}, "intrinsics"),
        ({"height": -1}, "height"),
    ],
)
def test_refused(change: dict, message: str) -> None:
    spec, width = SPECS["padded"]
    pose, intrinsics = camera()
    given = {
        "camera_to_world": pose, "intrinsics": intrinsics, "height": 3, "width": 4, "occupancy": cells(8),
        "step_size": 0.1,
        "weights": make_weights(spec, width), "spec": spec, "early_stop": STOP,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        feature_view(**given)
