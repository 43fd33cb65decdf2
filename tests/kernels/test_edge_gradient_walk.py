"""``neural_renderer``: Kato's visibility gradient against the project's published numbers, by hand and by brute force.

Backends, budgets and the tests that it shares with ``edge_grad`` are in ``test_edge_gradient.py``.
"""

import math

import pytest
import torch
from torch import Tensor

from nerfkit.kernels.edge_gradient import neural_renderer
from tests.kernels.edge_gradient_cases import CASES, Picture, assert_close, make, points_gradient, shoot

BACKENDS = ("reference", "cpu")


def screen_points(vertices: list[list[float]], size: int) -> Tensor:
    """Points (1,V,3) at depth 1 of vertices in [-1,1]^2, y up."""
    x, y = torch.tensor(vertices).T
    return torch.stack([(x + 1) * size / 2, (1 - y) * size / 2, torch.ones_like(x)], -1)[None]


def screen_gradient(gradient: Tensor, size: int) -> Tensor:
    """By x and y in [-1,1]^2, y up, from that by the points of ``screen_points``."""
    return gradient[0, :, :2] * torch.tensor([size / 2, -size / 2])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("vertices", "row", "column", "target", "expected"),
    [
        (
            [[0.8, 0.8], [0.0, -0.5], [0.2, -0.4]], 25, 35, 1.0,
            [[1.6725862, -0.26021874], [1.41986704, -1.64284933], [0.0, 0.0]],
        ),
        (
            [[0.8, 0.8], [-0.5, -0.8], [0.8, -0.8]], 40, 50, 0.0,
            [[0.98646867, 1.04628897], [-1.03415668, -0.10403691], [3.00094461, -1.55173182]],
        ),
    ],
    ids=["outside", "inside"],
)  # fmt: skip
def test_published_numbers(vertices, row, column, target, expected, channels, backend):
    """The gradients of |pixel - target| that neural_renderer's own tests hold (tests/test_rasterize.py), 1 % apart."""
    picture = shoot(screen_points(vertices, 64), torch.tensor([[0, 1, 2]]), 64, 64, channels)
    image = (picture.face >= 0).float()[..., None].expand(-1, -1, -1, channels).contiguous()
    weight = torch.zeros_like(image)
    weight[0, row, column] = (image[0, row, column] - target).sign() / channels
    eps = 1e-4 if channels == 1 else 1e-3  # what the renderer gives for silhouettes and for colors
    gradient = points_gradient(neural_renderer, picture._replace(image=image, weight=weight), backend, eps=eps)
    torch.testing.assert_close(screen_gradient(gradient, 64), torch.tensor(expected), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_row_by_hand(backend):
    """A triangle on one row of 8 pixels, whose right edge crosses it at c = 3.2 (from the first center), halfway.

    Outside: pixel 6 wants the face's color and gains 1 * 2, at 2.8 pixels. Pixel 5 does not want it. Inside: pixel 1,
    of another face's gradient, wants the color outside and gains 1 * 3, at 2.2 pixels.
    """
    eps = 0.05
    points = torch.tensor([[[3.2, -0.5, 1.0], [4.2, 1.5, 1.0], [-50.0, 0.5, 1.0]]])
    face = torch.tensor([[[0, 0, 0, 0, -1, -1, -1, -1]]], dtype=torch.int32)
    image = (face >= 0).float()[..., None]
    weight = torch.tensor([0.0, 3, 0, 0, 0, 1, -2, 0]).view(1, 1, 8, 1)
    picture = Picture(image, weight, points, torch.tensor([[0, 2, 1]]), face, torch.zeros(1, 1, 8, 3))
    gradient = points_gradient(neural_renderer, picture, backend, eps=eps)[0]
    margin = eps * 8 / 2
    expected = -2 / (2.8 / 0.5 + margin) + 3 / (2.2 / 0.5 + margin)
    torch.testing.assert_close(gradient[:2, 0], torch.full((2,), expected))
    assert (gradient[:, 1] == 0).all()  # no edge crosses a column of centers where a pixel and its neighbor are seen


def brute_force(picture: Picture, eps: float = 1e-4) -> Tensor:
    """Kato's rule in Kato's frame (a square picture upside down, faces doubled to have a front), number by number."""
    image, weight, points, faces, face, _ = picture.double()
    size = image.shape[1]
    assert image.shape[2] == size
    image, weight, face = image.flip(1).tolist(), weight.flip(1).tolist(), face.flip(1).tolist()
    gradient = torch.zeros_like(points)
    for n in range(len(points)):
        rows = (faces[n] if faces.ndim == 3 else faces).tolist()
        for number, row in [*enumerate(rows), *enumerate(r[::-1] for r in rows)]:
            if min(row) < 0:
                continue
            corners = [(2 * x / w / size - 1, 1 - 2 * y / w / size) for x, y, w in points[n, row].tolist()]
            (ax, ay), (bx, by), (cx, cy) = corners
            if (bx - ax) * (cy - ay) <= (by - ay) * (cx - ax):
                continue  # it shows its back

            def see(axis: int, line: int, d: int, what: list = face, n: int = n):  # type: ignore[no-untyped-def,type-arg]
                return what[n][d][line] if axis == 0 else what[n][line][d]

            for start in range(3):
                end = (start + 1) % 3
                for axis in (0, 1):  # 0: lines are columns, y moves
                    u0, v0 = (0.5 * (corners[start][k] * size + size - 1) for k in (axis, 1 - axis))
                    u1, v1 = (0.5 * (corners[end][k] * size + size - 1) for k in (axis, 1 - axis))
                    direction = -1 if (u0 < u1) == (axis == 0) else 1
                    for line in range(size):
                        if not min(u0, u1) <= line <= max(u0, u1) or u0 == u1:
                            continue
                        cross = v0 + (v1 - v0) / (u1 - u0) * (line - u0)
                        cross = round(cross) if abs(cross - round(cross)) < 1e-9 else cross
                        inner = math.floor(cross) if direction > 0 else math.ceil(cross)
                        outer = inner + direction
                        if not (0 <= inner < size and 0 <= outer < size):
                            continue
                        for d in range(size):
                            beyond = d >= outer if direction > 0 else d <= outer
                            if see(axis, line, inner if beyond else d) != number:
                                continue
                            here, new = see(axis, line, d, image), see(axis, line, inner if beyond else outer, image)
                            gains = zip(here, new, see(axis, line, d, weight), strict=True)
                            gain = sum((a - b) * g for a, b, g in gains)
                            if gain <= 0:
                                continue
                            sign = direction if beyond else -direction
                            for vertex, others in ((row[start], u1), (row[end], u0)):
                                if others != line:
                                    reach = abs((u1 - u0) / (others - line) * (d - cross)) * 2 / size
                                    gradient[n, vertex, 1 - axis] -= sign * gain / (reach + eps)
    by_x, by_y = gradient[..., 0] * 2 / size, -gradient[..., 1] * 2 / size
    x, y, w = points.unbind(-1)
    return torch.stack([by_x / w, by_y / w, -(by_x * x + by_y * y) / w**2], -1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [case for case in CASES if case not in ("broken", "wide")])
@pytest.mark.parametrize("eps", [1e-4, 0.1])
def test_brute_force(case, backend, eps):
    picture = make(case)
    size = 8 if case == "aligned" else min(picture.face.shape[1:])  # Kato's frame is exact for powers of 2
    picture = shoot(picture.points, picture.faces, size, size, picture.image.shape[-1])
    expected = brute_force(picture, eps)
    assert case in ("nothing_seen", "no_faces", "one_pixel", "no_views") or expected.abs().max() > 0.1
    picture = picture.double() if backend == "reference" else picture
    assert_close(points_gradient(neural_renderer, picture, backend, eps=eps), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_oblong_pictures(backend):
    """Both axes have their own scale for ``eps``; a picture turned by 90 degrees has a turned gradient."""
    picture = make("wide")
    turned = Picture(*(x.transpose(1, 2).contiguous() if x.ndim > 2 and len(x) else x for x in picture))
    turned = turned._replace(points=picture.points[..., [1, 0, 2]], faces=picture.faces)
    picture, turned = (p.double() if backend == "reference" else p for p in (picture, turned))
    gradient = points_gradient(neural_renderer, turned, backend, eps=0.05)
    expected = points_gradient(neural_renderer, picture, backend, eps=0.05)
    assert_close(gradient[..., [1, 0, 2]], expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_a_gain_counts(backend):
    """Where every change of a pixel would raise the loss, nothing moves."""
    picture = make("soup")
    image = (picture.face >= 0).float()[..., None]
    gradient = points_gradient(neural_renderer, picture._replace(image=image, weight=0.5 - image), backend)
    assert (gradient == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_supersampled_as_published(backend):
    """``anti_aliasing``: twice the size and a 2x2 mean. Both pictures pull every corner the same way."""
    gradients = []
    for scale in (1, 2):
        corners = torch.tensor([[3.3, 3.2, 1.0], [8.4, 3.2, 1.0], [8.4, 9.1, 1.0], [3.3, 9.1, 1.0]])[None]
        corners[..., :2] *= scale
        picture = shoot(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]), 12 * scale, 12 * scale, 1)
        points = picture.points.double() if backend == "reference" else picture.points
        points.requires_grad_()
        image = (picture.face >= 0).to(points)[..., None]
        out = neural_renderer(image, points, picture.faces, picture.face)
        small = torch.nn.functional.avg_pool2d(out.permute(0, 3, 1, 2), scale)
        target = torch.zeros_like(small)
        target[..., 1:11, 1:11] = 1
        (small - target).square().sum().backward()
        gradients.append(points.grad[0, :, :2] * scale)
    assert (gradients[0].sign() == gradients[1].sign()).all() and (gradients[0] != 0).all()
