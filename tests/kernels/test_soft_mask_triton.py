"""Both soft masks in Triton: interpreted, compiled inside their budgets, on a GPU (see ``ladder.py``)."""

import pytest
import torch

from nerfkit.kernels import use
from tests.kernels import ladder
from tests.kernels.approximations import Approximated
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


def colors_of(count: int, channels: int = 3) -> torch.Tensor:
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
    [("soup", SOFT), ("broken", SOFT), ("grid", TINY), ("soup", SOFT | {"through_barycentrics": False})],
    ids=["soup", "broken", "tiny", "not through barycentrics"],
)
def test_picture_agrees(case, settings):
    points, faces = CASES[case]()
    colors = colors_of(points.shape[1])
    with use("triton"):
        found = picture_and_gradients(points, faces, colors, HEIGHT, WIDTH, **settings)
    with use("reference"):
        exact = picture_and_gradients(points.double(), faces, colors.double(), HEIGHT, WIDTH, **settings)
    # At SoftRas' gamma a rounding of the picture is a hundred times as large in the gradient of the depth.
    assert_near(without_ties(found, case), without_ties(exact, case), 3e-5 if settings is TINY else 5e-6)


@pytest.mark.interpreted
@pytest.mark.parametrize("channels", [0, 1, 4, 6])
def test_numbers_of_channels(channels):
    points, faces = soup(2, 4)
    colors = colors_of(faces.shape[0] * 3, channels).reshape(4, 3, channels) if channels else None
    settings = {"sigma": 1e-2, "gamma": 1e-1, "corners": channels > 0}
    with use("triton"):
        found = picture_and_gradients(points, faces, colors, HEIGHT, WIDTH, **settings)
    with use("reference"):
        doubles = None if colors is None else colors.double()
        exact = picture_and_gradients(points.double(), faces, doubles, HEIGHT, WIDTH, **settings)
    assert_near(found, exact, 3e-6)


@pytest.mark.interpreted
@pytest.mark.parametrize(("views", "vertices", "faces"), [(2, 3, 0), (2, 0, 0), (0, 3, 1)])
def test_nothing_to_draw(views, vertices, faces):
    points, mesh = torch.ones(views, vertices, 3), torch.tensor([[0, 1, 2]])[:faces]
    with use("triton"):
        mask = mask_and_gradient(points, mesh, torch.full((views, 3, 4), -1, dtype=torch.int32))
        picture = picture_and_gradients(points, mesh, colors_of(vertices), 3, 4)
    assert mask["mask"].shape == (views, 3, 4) and not mask["mask"].any()
    assert picture["picture"].shape == (views, 3, 4, 4) and not picture["picture"].any()
    assert not mask["d_points"].any() and not picture["d_points"].any() and not picture["d_colors"].any()


def results(points, faces, face, colors) -> dict[str, torch.Tensor]:
    """Both operations' values and gradients, and how many bytes autograd keeps in between."""
    kept = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.nbytes)
        return x

    with use("triton"), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        mask = mask_and_gradient(points, faces, face, **MASK)
        picture = picture_and_gradients(points, faces, colors, HEIGHT, WIDTH, **SOFT)
    return {"mask": mask["mask"], "d_mask": mask["d_points"], **picture, "bytes": torch.tensor(sum(kept))}


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_in_pieces(own, monkeypatch):
    """Views, rows and columns of tiles one by one, of meshes with a topology for all views or one for each.

    Values do not depend on the pieces, gradients but for rounding; two runs agree; no list is kept.
    """
    from nerfkit.kernels.soft_mask import triton_lists

    points, faces = broken() if own else soup(2, 6)
    face = covering(points, faces[0].clamp(min=0) if own else faces, HEIGHT, WIDTH)
    colors = colors_of(2 * points.shape[1]).view(2, -1, 3) if own else colors_of(points.shape[1])
    whole = results(points, faces, face, colors)
    pieces = []

    def recording(region, faces, most, count, draw):
        def draw_and_record(piece, *lists):
            pieces.append((piece, lists[0].shape[0]))
            draw(piece, *lists)

        in_pieces(region, faces, most, count, draw_and_record)

    in_pieces = triton_lists.in_pieces
    monkeypatch.setattr(triton_lists, "in_pieces", recording)
    shapes = set()
    for most in (6, 2):
        monkeypatch.setattr(triton_lists, "MOST", most)
        pieces.clear()
        found = results(points, faces, face, colors)
        shapes |= {piece.sizes for piece, _ in pieces}
        assert all(pairs <= most or piece.tiles == 1 for piece, pairs in pieces)
        assert sum(piece.tiles for piece, _ in pieces) == 4 * 8  # both ways of both operations
        assert whole["bytes"] - found.pop("bytes") == 4 * sum(pairs for _, pairs in pieces) // 2 + 2 * 8 * 9
        assert torch.equal(found["mask"], whole["mask"]) and torch.equal(found["picture"], whole["picture"])
        assert_near(found, {name: whole[name].double() for name in found})
    assert {(1, 1, 2), (1, 1, 1)} <= shapes
    again = results(points, faces, face, colors)
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.interpreted
def test_a_view_of_more_faces_than_a_piece_may_have_pairs(monkeypatch):
    """Most of them are out of sight: the picture stays whole."""
    from nerfkit.kernels.soft_mask import triton_lists

    points, faces = soup(1, 3)
    points, faces = torch.cat([points, -points], 1), torch.cat([faces, faces + 9, faces + 9, faces + 9])
    colors = colors_of(18)
    face = covering(points, faces[:3], HEIGHT, WIDTH)
    whole = results(points, faces, face, colors)
    monkeypatch.setattr(triton_lists, "MOST", 11)
    found = results(points, faces, face, colors)
    assert all(torch.equal(found[name], whole[name]) for name in found)


# Rung 4: compiled, inside the budgets.

NUMBERS = ("first_view", "faces", "height", "width", "top", "left", "rows", "columns", "total", "knum", "own")
SIZES = dict.fromkeys(NUMBERS, "i32")
SHARED = {"corners_ptr": "*fp64", "entries_ptr": "*i32", "offsets_ptr": "*i64", "settings_ptr": "*fp64", **SIZES}
MASKS = SHARED | {"face_ptr": "*i32", "last_ptr": "*i32", "missed_ptr": "*fp64", "parts_ptr": "*fp64"}
MASKS |= {"mask_ptr": "*fp32", "gradient_ptr": "*fp32"}
SINGLE = ("values", "background", "picture", "missed", "total", "gradient", "value_parts")
PICTURES = SHARED | {f"{name}_ptr": "*fp32" for name in SINGLE} | {"highest_ptr": "*fp64", "parts_ptr": "*fp64"}


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_mask_budgets(target):
    from nerfkit.kernels.soft_mask import triton_dibr

    for kernel, way, warps in (
        (triton_dibr.dibr_forward_kernel, "forward", triton_dibr.FORWARD_WARPS),
        (triton_dibr.dibr_backward_kernel, "backward", triton_dibr.BACKWARD_WARPS),
    ):
        name = f"soft_mask.dibr.{way}"
        ladder.check_budget(name, target, kernel, MASKS, {"TILE": triton_dibr.TILE}, num_warps=warps)


@pytest.mark.slow
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
        name = f"soft_mask.softras.{way}.{'color' if channels else 'alpha'}"
        ladder.check_budget(name, target, kernel, PICTURES, constants | more, num_warps=warps)


def test_three_channels_without_slopes_compile():
    from nerfkit.kernels.soft_mask import triton

    constants = {"CHANNELS": 3, "BLOCK": 4, "TILE": triton.TILE}
    for kernel, more in ((triton.soft_forward_kernel, {}), (triton.soft_backward_kernel, {"SLOPES": False})):
        assert ladder.compile_usage(kernel, "sm_90", PICTURES, constants | more, num_warps=4).stack == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_count_budget(target):
    from nerfkit.kernels.soft_mask import triton_lists

    types = SIZES | {"pixels_ptr": "*i32", "box_ptr": "*i16", "count_ptr": "*i32"}
    constants = {"TILE": triton_lists.TILE, "BLOCK": triton_lists.FACES}
    ladder.check_budget(
        "soft_mask.count", target, triton_lists.count_kernel, types, constants, num_warps=triton_lists.WARPS
    )


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("most", [None, 50], ids=["whole", "in pieces"])
@pytest.mark.parametrize("case", ["soup", "grid"])
def test_gpu(case, most, poison, monkeypatch):
    from nerfkit.kernels.soft_mask import triton_lists

    monkeypatch.setattr(triton_lists, "MOST", most or triton_lists.MOST)
    points, faces = (x.cuda() for x in (soup(2, 60) if case == "soup" else grid()))
    face = covering(points, faces, HEIGHT, WIDTH)
    colors = colors_of(points.shape[1]).cuda()

    def everything(points: torch.Tensor, colors: torch.Tensor) -> list[torch.Tensor]:
        mask = mask_and_gradient(points, faces, face, **MASK)
        return [*mask.values(), *picture_and_gradients(points, faces, colors, HEIGHT, WIDTH, **SOFT).values()]

    actual, again = everything(points, colors), everything(points, colors)
    with use("reference"):
        peer, exact = everything(points, colors), everything(points.double(), colors.double())
        with Approximated():
            off = everything(points.double(), colors.double())
    for number, (mine, repeated, single, double, bound) in enumerate(zip(actual, again, peer, exact, off, strict=True)):
        assert torch.equal(mine, repeated)
        ladder.assert_error_at_most_twice(mine, single, double, f"result {number}", bound)
