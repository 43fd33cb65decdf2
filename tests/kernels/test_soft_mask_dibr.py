"""DIB-R's mask: against brute force, against pixels by hand, and Kaolin's bounds on which faces count."""

import math

import numpy as np
import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.soft_mask import dibr_mask
from tests.kernels.soft_mask_cases import HEIGHT, MASK, WIDTH, at, covering, from_ndc, mask_and_gradient, soup

BACKENDS = ("reference", "cpu")
FACE = torch.tensor([[0, 1, 2]])


def empty(height: int, width: int) -> torch.Tensor:
    return torch.full((1, height, width), -1, dtype=torch.int32)


def segment_distance(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """By its three cases: beside the start, beside the end, between them."""
    if np.dot(p - a, b - a) <= 0:
        return float(np.linalg.norm(p - a))
    if np.dot(p - b, a - b) <= 0:
        return float(np.linalg.norm(p - b))
    return float(abs((b - a)[0] * (p - a)[1] - (b - a)[1] * (p - a)[0]) / np.linalg.norm(b - a))


def brute_force(points, faces, face, sigmainv, boxlen, knum) -> np.ndarray:
    height, width = face.shape[1:]
    mask = np.ones(face.shape)
    for n, i, j in np.argwhere(face < 0):
        p = np.array([(j + 0.5) / width * 2 - 1, 1 - (i + 0.5) / height * 2])
        missed, counted = 1.0, 0
        for corners in points[n][faces]:
            ndc = corners[:, :2] / corners[:, 2:] / [width, height] * 2 - 1
            ndc[:, 1] *= -1
            if counted == knum or (p < ndc.min(0) - boxlen).any() or (p >= ndc.max(0) + boxlen).any():
                continue
            counted += 1
            d = min(segment_distance(p, ndc[k], ndc[(k + 1) % 3]) for k in range(3))
            missed *= 1 - math.exp(-sigmainv * d * d)
        mask[n, i, j] = 1 - missed
    return mask


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("knum", [1, 3, 30])
def test_equals_brute_force(backend, knum):
    points, faces = soup(2, 9)
    face = covering(points, faces)
    settings = MASK | {"knum": knum}
    expected = brute_force(points.double().numpy(), faces.numpy(), face.numpy(), **settings)
    assert ((expected > 0.01) & (expected < 0.99)).mean() > 0.2
    with use(backend):
        mask = dibr_mask(points, faces, face, **settings)
    np.testing.assert_allclose(mask.numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_by_hand(backend):
    """A triangle (0, 0), (0.5, 0), (0, 0.5) in a picture of 8 x 8, centers at odd eighths."""
    points = from_ndc([[0, 0.5, 0]], [[0, 0, 0.5]], 2.0, 8, 8).float()
    with use(backend):
        mask = dibr_mask(points, FACE, empty(8, 8), sigmainv=20.0, boxlen=0.3)[0]
    row = {y: round((1 - y) * 4 - 0.5) for y in (-0.375, -0.125, 0.125, 0.375)}
    column = {x: round((x + 1) * 4 - 0.5) for x in (-0.125, 0.125, 0.375, 0.625)}
    by_hand = {
        (0.125, -0.125): 0.125**2,  # the edge below
        (-0.125, 0.125): 0.125**2,  # the edge to the left
        (-0.125, -0.125): 2 * 0.125**2,  # the right angle's corner
        (0.625, -0.125): 2 * 0.125**2,  # the corner (0.5, 0)
        (0.375, 0.375): 0.25**2 / 2,  # the slanted edge x + y = 0.5
        (0.125, 0.125): 0.125**2,  # inside, but not covered: the nearest edge all the same
    }
    for (x, y), squared in by_hand.items():
        assert mask[row[y], column[x]].item() == pytest.approx(math.exp(-20 * squared), rel=1e-5), (x, y)
    assert mask[row[-0.375], column[0.625]] == 0  # outside the grown box, -0.3 to 0.8


@pytest.mark.parametrize("backend", BACKENDS)
def test_width_and_height_are_each_two_long(backend):
    """The same shape in normalized coordinates, in a picture three times as wide: every third column is the same."""
    x, y = [[-0.32, 0.41, 0.1]], [[-0.23, 0.1, 0.54]]
    with use(backend):
        square = dibr_mask(from_ndc(x, y, 1.0, 6, 6).float(), FACE, empty(6, 6), **MASK)
        wide = dibr_mask(from_ndc(x, y, 1.0, 6, 18).float(), FACE, empty(6, 18), **MASK)
    torch.testing.assert_close(wide[:, :, 1::3], square, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_covered_pixels_are_one_and_silent(backend):
    points, faces = soup(2, 9)
    face = covering(points, faces)
    with use(backend):
        leaf = points.clone().requires_grad_()
        mask = dibr_mask(leaf, faces, face, **MASK)
        assert (mask[face >= 0] == 1).all()
        mask[face >= 0].sum().backward()
    assert not leaf.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_thirty_first_face_is_ignored(backend):
    """Thirty faces far from the center's pixel whose boxes hold it, then one right beside it."""
    far = from_ndc([[-0.9, 0.9, -0.9]], [[0.9, 0.9, -0.2]], 1.0, 9, 9)
    near = from_ndc([[-0.05, 0.3, 0.3]], [[0.05, -0.1, -0.3]], 1.0, 9, 9)
    points = torch.cat([far.expand(1, 3, 3).repeat(1, 30, 1), near], 1).float()
    faces = torch.arange(93).reshape(31, 3)
    with use(backend):
        found = mask_and_gradient(points, faces, empty(9, 9), sigmainv=100.0)
        without = dibr_mask(points[:, :90], faces[:30], empty(9, 9), sigmainv=100.0)
        more = dibr_mask(points, faces, empty(9, 9), sigmainv=100.0, knum=31)
    assert found["mask"][0, 4, 4] == without[0, 4, 4]
    assert more[0, 4, 4] > without[0, 4, 4] + 0.1
    assert found["mask"][0, 5, 4] > without[0, 5, 4] == 0  # outside the thirty boxes: there it is the first


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_near_face_outside_its_grown_box_is_ignored(backend):
    """The face ends 0.03 to the left of a pixel: exp(-7000 * 0.03^2) is 0.002, exp(-70 * 0.03^2) is 0.94."""
    points = from_ndc([[-0.6, -0.03, -0.6]], [[0.2, 0.0, -0.2]], 1.0, 5, 5).float()
    with use(backend):
        tight = dibr_mask(points, FACE, empty(5, 5), sigmainv=70.0, boxlen=0.02)
        loose = dibr_mask(points, FACE, empty(5, 5), sigmainv=70.0, boxlen=0.04)
    assert tight[0, 2, 2] == 0
    assert loose[0, 2, 2].item() == pytest.approx(math.exp(-70 * 0.03**2), rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_grown_box_holds_its_lower_sides_only(backend):
    """All numbers are eighths, so the sides of the box pass exactly through centers."""
    points = from_ndc([[-0.125, 0.125, -0.125]], [[-0.125, -0.125, 0.125]], 1.0, 8, 8).float()
    with use(backend):
        mask = dibr_mask(points, FACE, empty(8, 8), sigmainv=0.1, boxlen=0.25)[0]
    held = mask > 0
    # x and y from -0.375 (included) to 0.375 (not): columns 2 to 4, and y = -0.375 is row 5
    assert held.nonzero().amin(0).tolist() == [3, 2]
    assert held.nonzero().amax(0).tolist() == [5, 4]
    assert held.sum() == 9


@pytest.mark.parametrize("backend", BACKENDS)
def test_left_out_faces_do_not_count_toward_knum(backend):
    good, faces = soup(1, 4)
    bad = torch.cat([good[:, :3] * -1, good[:, :3] * 1e-4, good[:, :3] * float("nan")], 1)
    points = torch.cat([bad, good], 1)
    padded = torch.cat([torch.arange(9).reshape(3, 3), torch.full((2, 3), -1), faces + 9])
    face = torch.full((1, HEIGHT, WIDTH), -1, dtype=torch.int32)
    with use(backend):
        expected = mask_and_gradient(good, faces, face, **MASK)
        found = mask_and_gradient(points, padded, face, **MASK)
    assert torch.equal(found["mask"], expected["mask"])
    assert torch.equal(found["d_points"][:, 9:], expected["d_points"])
    assert not found["d_points"][:, :9].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pixel_on_an_edge(backend):
    """One factor is 0 there: the mask is 1 and, at its peak, every gradient 0."""
    points = torch.cat([at([[0.5, 8.5, 8.5]], [[4.5, 4.5, 8.5]], 1.0), at([[1.0, 8, 8]], [[5.0, 6, 8]], 1.0)], 1)
    faces = torch.arange(6).reshape(2, 3)
    leaf = points.to(torch.float64 if backend == "reference" else torch.float32).requires_grad_()
    with use(backend):
        mask = dibr_mask(leaf, faces, empty(9, 9), **MASK)
        mask[0, 4, 4].backward()
    assert mask[0, 4, 4] == 1
    assert not leaf.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_pulls_the_outline_toward_the_pixel(backend):
    """More mask to the right of a face: its right corner moves right, and not by perspective alone."""
    leaf = at([[1.0, 4, 1]], [[1.0, 4.5, 8]], 2.0).float().requires_grad_()
    with use(backend):
        dibr_mask(leaf, FACE, empty(9, 9), sigmainv=20.0, boxlen=0.5)[0, 4, 5].backward()
    assert leaf.grad[0, 1, 0] > 0
    assert not leaf.grad[0, 0].any()
    assert leaf.grad[0, 1, 2] == pytest.approx(-4 * leaf.grad[0, 1, 0].item(), rel=1e-4)  # x = (w x) / w
