"""``edge_grad``: DRTK's visibility gradient, by hand, by brute force, and every backend: see ``ladder.py``."""

import itertools

import pytest
import torch
from torch import Tensor

from nerfkit.kernels import use
from nerfkit.kernels.edge_gradient import edge_grad, neural_renderer
from nerfkit.kernels.edge_gradient.reference import slide_of
from tests.kernels import ladder
from tests.kernels.edge_gradient_cases import CASES, Picture, assert_close, make, points_gradient, shoot

BACKENDS = ("reference", "cpu")


def brute_force(picture: Picture, max_dp_dr: float = 1e4, near: float = 1e-3) -> Tensor:
    """Pair by pair and with plane geometry alone, float64; for faces in front of the camera."""
    image, weight, points, faces, face, barycentrics = picture.double()
    by_pixel_units = torch.zeros_like(points)  # by x, y, w
    positions = torch.cat([points[..., :2] / points[..., 2:], points[..., 2:]], -1)

    def corners(n: int, f: int) -> Tensor:
        return positions[n, faces[n, f] if faces.ndim == 3 else faces[f]]

    def inside(n: int, f: int, i: int, j: int) -> bool:
        away = corners(n, f)[:, :2] - torch.tensor([j + 0.5, i + 0.5])
        (a, b), (c, d), (e, g) = away.tolist()
        sides = (a * d - b * c, c * g - d * e, e * b - g * a)
        return min(sides) > 0 or max(sides) < 0

    def give(n: int, i: int, j: int, gradient: Tensor) -> None:
        own = faces[n, face[n, i, j]] if faces.ndim == 3 else faces[face[n, i, j]]
        for k in range(3):
            by_pixel_units[n, own[k]] += barycentrics[n, i, j, k] * gradient

    views, height, width = face.shape
    for n, i, j, axis in itertools.product(range(views), range(height), range(width), (0, 1)):
        first, second = (i, j), (i + axis, j + 1 - axis)
        if second[0] >= height or second[1] >= width or face[n][first] == face[n][second]:
            continue
        change = image[n][second] - image[n][first]
        moved = -float(change @ (weight[n][first] + weight[n][second])) / 2
        direction = torch.eye(3, dtype=torch.float64)[axis]
        f, g = int(face[n][first]), int(face[n][second])
        if f < 0 or g < 0:
            give(n, *(second if f < 0 else first), moved * direction)
            continue
        first_in_second, second_in_first = inside(n, g, *first), inside(n, f, *second)
        if first_in_second != second_in_first:
            give(n, *(first if first_in_second else second), moved * direction)
        elif first_in_second:
            normals = [torch.linalg.cross(*(corners(n, h)[1:] - corners(n, h)[:1]))[[axis, 2]] for h in (f, g)]
            for mine, fixed, place in ((*normals, first), (*normals[::-1], second)):
                along = torch.stack([-fixed[1], fixed[0]]) / fixed.norm()  # in which the edge may slide
                unit = mine / mine.norm()
                rate = along[0] / (along @ unit)
                slide = rate.clamp(-max_dp_dr, max_dp_dr) * unit
                give(n, *place, moved * (slide[0] * direction + slide[1] * torch.eye(3, dtype=torch.float64)[2]))
    w = points[..., 2:]
    by_w = by_pixel_units[..., 2:] - (by_pixel_units[..., :2] * positions[..., :2]).sum(-1, keepdim=True) / w
    return torch.cat([by_pixel_units[..., :2] / w, by_w], -1)


def square(left: float, right: float, top: float, bottom: float, w: float = 1.0) -> Tensor:
    """Corners (1,4,3), clockwise on the screen from the top left."""
    corners = torch.tensor([[left, top, 1.0], [right, top, 1.0], [right, bottom, 1.0], [left, bottom, 1.0]])
    return w * corners[None]


SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_edge_by_hand(backend):
    """One row of 4 pixels, colors 5, 5, 2, 2, gradients 1, 2, 4, 8: the edge is worth -(2 - 5) (2 + 4) / 2 = 9."""
    points = 2.0 * torch.tensor([[[-9.0, 9.5, 1.0], [-9.0, -8.5, 1.0], [2.0, 0.5, 1.0]]])
    face = torch.tensor([[[0, 0, -1, -1]]], dtype=torch.int32)
    barycentrics = torch.tensor([0.2, 0.3, 0.5]).expand(1, 1, 4, 3)
    image, weight = torch.tensor([5.0, 5, 2, 2]).view(1, 1, 4, 1), torch.tensor([1.0, 2, 4, 8]).view(1, 1, 4, 1)
    gradient = points_gradient(
        edge_grad, Picture(image, weight, points, torch.tensor([[0, 1, 2]]), face, barycentrics), backend
    )
    by_x = 9 * torch.tensor([0.2, 0.3, 0.5])
    expected = torch.stack([by_x / 2, torch.zeros(3), -by_x * torch.tensor([-9.0, -9, 2]) / 2], -1)[None]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_far_square_gets_nothing_where_a_near_one_covers_it(backend):
    points = torch.cat([square(1.3, 5.2, 1.1, 4.8, w=2.0), square(3.1, 7.4, 2.3, 6.6)], 1)
    picture = shoot(points, torch.cat([SQUARE, SQUARE + 4]), 9, 10)
    covering = picture.face >= 2
    picture = picture._replace(image=torch.where(covering, 1.0, 0.0)[..., None], weight=torch.ones(1, 9, 10, 1))
    gradient = points_gradient(edge_grad, picture, backend)
    assert (gradient[0, :4] == 0).all()
    assert (gradient[0, 4:, :2].abs().sum(-1) > 0.1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_of_one_surface_move_nothing(backend):
    """Neighbors in a plane, of different colors: neither goes on below the other."""
    picture = shoot(square(-2.1, 12.3, -1.7, 11.2), SQUARE, 8, 8)
    assert len(picture.face.unique()) == 2
    assert (points_gradient(edge_grad, picture, backend) == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", [edge_grad, neural_renderer])
def test_a_square_that_must_grow_grows(rule, backend):
    points = square(3.2, 6.7, 2.6, 7.1, w=1.5)
    picture = shoot(points, SQUARE, 11, 11)
    covered = (picture.face >= 0).float()[..., None]
    target = torch.zeros_like(covered)
    target[:, 1:9, 1:9] = 1
    gradient = points_gradient(rule, picture._replace(image=covered, weight=2 * (covered - target)), backend)[0]
    outward = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    assert (-gradient[:, :2] * outward > 0.1).all()


def test_slide_of_an_intersection():
    """Against where two lines meet, the moving one shifted by a bit."""
    generator = torch.Generator().manual_seed(2)
    moving, fixed = torch.randn(2, 20, 2, generator=generator, dtype=torch.float64)

    def meeting(shift: Tensor) -> Tensor:
        """x where moving . (p - shift) = 0 and fixed . p = 0."""
        right = torch.stack([(moving * shift).sum(-1), torch.zeros(20, dtype=torch.float64)], -1)
        return torch.linalg.solve(torch.stack([moving, fixed], 1), right)[:, 0]

    expected = torch.stack([meeting(axis.expand(20, 2)) for axis in torch.eye(2, dtype=torch.float64)], -1)
    torch.testing.assert_close(slide_of(moving, fixed, 0.0), expected)
    limited = slide_of(moving, fixed, 0.5)
    torch.testing.assert_close(limited.norm(dim=-1), expected.norm(dim=-1).clamp(max=0.5))
    assert (limited * expected >= 0).all()
    assert slide_of(moving, moving, 1e4).isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [case for case in CASES if case != "broken"])
@pytest.mark.parametrize("max_dp_dr", [1e4, 0.3])
def test_brute_force(case, backend, max_dp_dr):
    picture = make(case)
    expected = brute_force(picture, max_dp_dr)
    assert case in ("nothing_seen", "no_faces", "one_pixel", "no_views") or expected.abs().max() > 0.1
    picture = picture.double() if backend == "reference" else picture
    assert_close(points_gradient(edge_grad, picture, backend, max_dp_dr=max_dp_dr), expected)


def test_the_cases_hold_intersections():
    """Else the brute force would show nothing about them."""
    assert not torch.allclose(brute_force(make("soup"), 1e4), brute_force(make("soup"), 1e-9))


@pytest.mark.parametrize("rule", [edge_grad, neural_renderer])
def test_broken_faces(rule):
    picture = make("broken")
    assert (picture.face >= 0).any()
    reference = points_gradient(rule, picture.double(), "reference")
    assert reference.isfinite().all() and (reference != 0).any()
    assert_close(points_gradient(rule, picture, "cpu"), reference)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("rule", [edge_grad, neural_renderer])
def test_cpu_is_deterministic_whatever_the_threads(rule):
    import numba

    picture = make("soup")
    gradients = []
    threads = numba.get_num_threads()
    for count in (1, threads, threads):
        numba.set_num_threads(count)
        gradients.append(points_gradient(rule, picture, "cpu"))
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[1], gradients[2])


def test_only_what_needs_a_gradient_gets_one():
    picture = make("gray")
    image = picture.image.clone().requires_grad_()
    neural_renderer(image, picture.points, picture.faces, picture.face).sum().backward()
    assert torch.equal(image.grad, torch.ones_like(image))
    points = picture.points.clone().requires_grad_()
    edge_grad(picture.image, points, picture.faces, picture.face, picture.barycentrics).mul(
        picture.weight
    ).sum().backward()
    assert points.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("points", (2, 5, 2)), ("points", (5, 3)), ("faces", (3, 4, 3)), ("faces", (4,)), ("face", (2, 13)),
     ("face", (1, 13, 11)), ("image", (2, 13, 11)), ("image", (2, 12, 11, 3)), ("barycentrics", (2, 13, 11, 2))],
)  # fmt: skip
def test_wrong_shapes(name, wrong):
    image, _, points, faces, face, barycentrics = make("soup")
    arguments = {"image": image, "points": points, "faces": faces, "face": face, "barycentrics": barycentrics}
    arguments[name] = torch.zeros(wrong, dtype=arguments[name].dtype)
    with pytest.raises(ValueError, match=f"{name}: expected"):
        edge_grad(**arguments)
    del arguments["barycentrics"]
    if name != "barycentrics":
        with pytest.raises(ValueError, match=f"{name}: expected"):
            neural_renderer(**arguments)


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", [edge_grad, neural_renderer])
def test_triton_agrees(rule, case, poison):
    picture = make(case)
    assert_close(points_gradient(rule, picture, "triton"), points_gradient(rule, picture.double(), "reference"))


# Rung 4: Triton compiled, inside its budget.

FRAGMENT = {
    **{f"{name}_ptr": "*fp32" for name in ("image", "grad", "fragment")},
    **{"points_ptr": "*fp64", "faces_ptr": "*i64", "face_ptr": "*i32", "near": "fp32", "max_dp_dr": "fp32"},
    **dict.fromkeys(("pixels", "height", "width", "vertices", "own_faces"), "i32"),
}
WALK = {
    **{"image_ptr": "*fp32", "grad_ptr": "*fp32", "face_ptr": "*i32", "view_ptr": "*i64", "number_ptr": "*i64"},
    **{"positions_ptr": "*fp64", "moves_ptr": "*fp64", "eps": "fp32", "height": "i32", "width": "i32"},
}


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.edge_gradient import triton

    shape = {"C": 4, "PIXELS": triton.PIXELS}
    warps = {"num_warps": triton.FRAGMENT_WARPS}
    ladder.check_budget("edge_gradient.fragment", target, triton.fragment_kernel, FRAGMENT, shape, **warps)
    shape = {"C": 4, "PLACES": triton.PLACES}
    warps = {"num_warps": triton.WALK_WARPS}
    ladder.check_budget("edge_gradient.walk", target, triton.walk_kernel, WALK, shape, **warps)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", [edge_grad, neural_renderer])
def test_gpu(rule, case, poison):
    picture = make(case).to("cuda")
    actual, again = points_gradient(rule, picture, "triton"), points_gradient(rule, picture, "triton")
    assert torch.equal(actual, again)
    with use("reference"):
        exact = points_gradient(rule, make(case).double(), "reference")
    assert_close(actual, exact)
