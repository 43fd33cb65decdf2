"""Both soft masks in Triton: interpreted, compiled inside their budgets, on a GPU (see ``ladder.py``)."""

import pytest
import torch

from nerfkit.kernels import use
from tests.kernels import ladder
from tests.kernels.soft_mask_cases import (
    MASK,
    SOFT,
    assert_near,
    at,
    covering,
    grid,
    mask_and_gradient,
    picture_and_gradients,
    soup,
)

HEIGHT, WIDTH = 19, 18  # four tiles, three of them cut off
TINY = {"sigma": 1e-3, "gamma": 1e-4}
EDGE_ON = slice(3, 6)


def colours_of(count: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(9))


def broken() -> tuple[torch.Tensor, torch.Tensor]:
    """Two views of faces of which most are edge-on, points, behind the camera, NaN, or padding in one view."""
    points, faces = soup(2, 8)
    points[:, EDGE_ON] = at([0.5, 8.5, 16.5], [0.5, 8.5, 16.5], 2.5).float()
    points[:, 6:9] = at(3.5, 3.5, [2.0, 2, 2]).float()
    points[:, 9] *= -1
    points[:, 12] = float("nan")
    views = torch.stack([faces, faces.flip(0)])
    views[1, 0] = -1
    return points, views


def without_ties(found: dict[str, torch.Tensor], case: str) -> dict[str, torch.Tensor]:
    """Leaves out the gradient of the face seen edge-on: its long edge lies on the others, and either may be nearest."""
    if case == "broken":
        assert found["d_points"].isfinite().all()
        found["d_points"][:, EDGE_ON] = 0
    return found


CASES = {"soup": lambda: soup(2, 5), "grid": grid, "broken": broken}


# Rung 3: in the interpreter.


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("settings", [MASK, {"sigmainv": 300.0, "boxlen": 0.5}], ids=["few", "wide"])
@pytest.mark.parametrize("case", CASES)
def test_mask_agrees(case, settings):
    points, faces = CASES[case]()
    face = covering(points, faces if faces.ndim == 2 else faces[:1].clamp(min=0)[0], HEIGHT, WIDTH)
    with use("triton"):
        found = mask_and_gradient(points, faces, face, **settings)
    with use("reference"):
        exact = mask_and_gradient(points.double(), faces, face, **settings)
    assert_near(without_ties(found, case), without_ties(exact, case))


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("soup", SOFT),
        ("broken", SOFT),
        ("grid", TINY),
        ("soup", SOFT | {"through_barycentrics": False}),
    ],
    ids=["soup", "broken", "tiny", "not through barycentrics"],
)
def test_picture_agrees(case, settings):
    points, faces = CASES[case]()
    colours = colours_of(points.shape[1])
    with use("triton"):
        found = picture_and_gradients(points, faces, colours, HEIGHT, WIDTH, **settings)
    with use("reference"):
        exact = picture_and_gradients(points.double(), faces, colours.double(), HEIGHT, WIDTH, **settings)
    # At SoftRas' gamma a rounding of the picture is a hundred times as large in the gradient of the depth.
    assert_near(without_ties(found, case), without_ties(exact, case), 3e-5 if settings is TINY else 5e-6)


@pytest.mark.interpreted
@pytest.mark.parametrize("channels", [0, 1, 4, 6])
def test_numbers_of_channels(channels):
    points, faces = soup(2, 4)
    colours = colours_of(faces.shape[0] * 3, channels).reshape(4, 3, channels) if channels else None
    settings = {"sigma": 1e-2, "gamma": 1e-1, "corners": channels > 0}
    with use("triton"):
        found = picture_and_gradients(points, faces, colours, HEIGHT, WIDTH, **settings)
    with use("reference"):
        doubles = None if colours is None else colours.double()
        exact = picture_and_gradients(points.double(), faces, doubles, HEIGHT, WIDTH, **settings)
    assert_near(found, exact, 3e-6)


@pytest.mark.interpreted
@pytest.mark.parametrize(("views", "vertices", "faces"), [(2, 3, 0), (2, 0, 0), (0, 3, 1)])
def test_nothing_to_draw(views, vertices, faces):
    points, mesh = torch.ones(views, vertices, 3), torch.tensor([[0, 1, 2]])[:faces]
    with use("triton"):
        mask = mask_and_gradient(points, mesh, torch.full((views, 3, 4), -1, dtype=torch.int32))
        picture = picture_and_gradients(points, mesh, colours_of(vertices), 3, 4)
    assert mask["mask"].shape == (views, 3, 4) and not mask["mask"].any()
    assert picture["picture"].shape == (views, 3, 4, 4) and not picture["picture"].any()
    assert not mask["d_points"].any() and not picture["d_points"].any() and not picture["d_colours"].any()


# Rung 4: compiled, inside the budgets.

SIZES = dict.fromkeys(("height", "width", "rows", "columns", "knum", "shared"), "i32")
SHARED = {"corners_ptr": "*fp64", "entries_ptr": "*i64", "offsets_ptr": "*i64", "settings_ptr": "*fp64", **SIZES}
MASKS = SHARED | {"face_ptr": "*i32", "last_ptr": "*i32", "missed_ptr": "*fp64", "parts_ptr": "*fp64"}
MASKS |= {"mask_ptr": "*fp32", "gradient_ptr": "*fp32"}
SINGLE = ("values", "background", "picture", "missed", "total", "gradient", "value_parts")
PICTURES = SHARED | {f"{name}_ptr": "*fp32" for name in SINGLE} | {"highest_ptr": "*fp64", "parts_ptr": "*fp64"}


@pytest.mark.parametrize("target", ladder.TARGETS)
def test_mask_budgets(target):
    from nerfkit.kernels.soft_mask import triton

    for kernel, way, warps in (
        (triton.dibr_forward_kernel, "forward", triton.FORWARD_WARPS),
        (triton.dibr_backward_kernel, "backward", triton.BACKWARD_WARPS),
    ):
        name = f"soft_mask.dibr.{way}"
        ladder.check_budget(name, target, kernel, MASKS, {"TILE": triton.TILE}, num_warps=warps)


@pytest.mark.parametrize("channels", [0, 4])
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_picture_budgets(target, channels):
    from nerfkit.kernels.soft_mask import triton

    assert channels <= triton.MOST_CHANNELS
    constants = {"CHANNELS": channels, "BLOCK": max(channels, 1), "TILE": triton.TILE}
    for kernel, way, warps, more in (
        (triton.soft_forward_kernel, "forward", triton.FORWARD_WARPS, {}),
        (triton.soft_backward_kernel, "backward", triton.BACKWARD_WARPS, {"SLOPES": True}),
    ):
        name = f"soft_mask.softras.{way}.{'colour' if channels else 'alpha'}"
        ladder.check_budget(name, target, kernel, PICTURES, constants | more, num_warps=warps)


def test_sizes_of_one_compile():
    """Triton makes a constant of an argument that is 1: a picture of one pixel, a mesh of one face."""
    from nerfkit.kernels.soft_mask import triton

    ones = dict.fromkeys(SIZES, 1)
    colour = {"CHANNELS": 3, "BLOCK": 4, "TILE": triton.TILE}
    for kernel, types, constants in (
        (triton.dibr_forward_kernel, MASKS, {"TILE": triton.TILE}),
        (triton.dibr_backward_kernel, MASKS, {"TILE": triton.TILE}),
        (triton.soft_forward_kernel, PICTURES, colour),
        (triton.soft_backward_kernel, PICTURES, colour | {"SLOPES": False}),
    ):
        here = {name: value for name, value in (ones | constants).items() if name in kernel.arg_names}
        assert ladder.compile_usage(kernel, "sm_90", types, here, num_warps=4).stack == 0


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", ["soup", "grid"])
def test_gpu(case, poison):
    points, faces = (x.cuda() for x in (soup(2, 60) if case == "soup" else grid()))
    face = covering(points, faces, HEIGHT, WIDTH)
    colours = colours_of(points.shape[1]).cuda()

    def everything(points: torch.Tensor, colours: torch.Tensor) -> list[torch.Tensor]:
        mask = mask_and_gradient(points, faces, face, **MASK)
        return [*mask.values(), *picture_and_gradients(points, faces, colours, HEIGHT, WIDTH, **SOFT).values()]

    actual, again = everything(points, colours), everything(points, colours)
    with use("reference"):
        peer, exact = everything(points, colours), everything(points.double(), colours.double())
    for mine, repeated, single, double in zip(actual, again, peer, exact, strict=True):
        assert torch.equal(mine, repeated)
        ladder.assert_error_at_most_twice(mine, single, double)
