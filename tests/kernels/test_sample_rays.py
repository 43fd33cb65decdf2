"""``sample_rays``: the camera's own rays, exact pixel choice, gradients, and every backend: see ``ladder.py``."""

import pytest
import torch

from nerfkit.cameras import Cameras, look_at
from nerfkit.kernels import philox, use
from nerfkit.kernels.philox import Draw, reference as philox_reference
from nerfkit.kernels.sample_rays import PixelSet, rays_from_pixels, sample_photos, sample_rays
from tests.kernels import ladder

CASES = ("ordinary", "long_lens", "outside", "one_ray", "no_rays", "one_view")


def cameras(count=5, height=7, width=9):
    generator = torch.Generator().manual_seed(3)
    position = torch.randn(count, 3, generator=generator) + 2.0
    poses = look_at(position, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    intrinsics = torch.tensor([8.0, 7.5, 4.2, 3.9]) + 0.3 * torch.rand(count, 4, generator=generator)
    return Cameras(poses, intrinsics, height, width)


def make(case, device="cpu"):
    """camera_to_world, intrinsics, view, row, column; the last view is never looked through."""
    rig = cameras(1 if case == "one_view" else 5)
    generator = torch.Generator().manual_seed(5)
    count = {"one_ray": 1, "no_rays": 0}.get(case, 259)
    view = torch.randint(max(len(rig) - 1, 1), (count,), generator=generator)
    row, column = (torch.randint(n, (count,), generator=generator) for n in (rig.height, rig.width))
    intrinsics = rig.intrinsics.clone()
    if case == "long_lens":
        intrinsics[:, :2] *= 1e5
    if case == "outside":
        row, column = row * 1000 - 3000, column * -1000
    return tuple(x.to(device) for x in (rig.camera_to_world, intrinsics, view, row, column))


def outputs_and_gradients(inputs):
    poses, intrinsics, *pixels = inputs
    poses, intrinsics = poses.clone().requires_grad_(), intrinsics.clone().requires_grad_()
    origins, directions = rays_from_pixels(poses, intrinsics, *pixels)
    generator = torch.Generator().manual_seed(11)
    weighting = [torch.randn(x.shape, generator=generator).to(x) for x in (origins, directions)]
    torch.autograd.backward([origins, directions], weighting)
    gradients = {"d_poses": poses.grad, "d_intrinsics": intrinsics.grad}
    return {"origins": origins.detach(), "directions": directions.detach()} | gradients


def double(inputs):
    return (inputs[0].double(), inputs[1].double(), *inputs[2:])


def assert_agrees(backend, case):
    inputs = make(case)
    with use("reference"):
        expected = outputs_and_gradients(double(inputs))
    with use(backend):
        actual = outputs_and_gradients(inputs)
    for name, value in expected.items():
        scale = value.abs().max().item() if value.numel() else 1.0
        # Far outside the image the local coordinates are large numbers, good to 1e-7 of themselves.
        torch.testing.assert_close(
            actual[name].double(), value, rtol=1e-5, atol=3e-6 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_same_choice(backend, device="cpu"):
    rig = cameras()
    views = torch.tensor([4, 0, 2])
    arguments = {"seed": 2**35 + 1, "step": 77, "first": 1000}
    with use("reference"):
        expected = sample_rays(rig.camera_to_world, rig.intrinsics, 7, 9, 301, views=views, **arguments)
    rig, views = rig.to(device), views.to(device)
    with use(backend):
        actual = sample_rays(rig.camera_to_world, rig.intrinsics, 7, 9, 301, views=views, **arguments)
        empty = sample_rays(rig.camera_to_world, rig.intrinsics, 7, 9, 0, **arguments)
    for mine, reference in zip(actual[2:], expected[2:], strict=True):
        assert mine.dtype == torch.int64
        assert torch.equal(mine.cpu(), reference)
    torch.testing.assert_close(actual.origins.cpu(), expected.origins)
    torch.testing.assert_close(actual.directions.cpu(), expected.directions)
    assert [tuple(x.shape) for x in empty] == [(0, 3), (0, 3), (0,), (0,), (0,)]


# Rung 1: the reference (and the CPU kernel, where it costs nothing) against the cameras and exact integers.


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_rays_are_the_cameras_rays(backend):
    rig = cameras()
    row, column = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    with use(backend):
        origins, directions = rays_from_pixels(
            rig.camera_to_world, rig.intrinsics, torch.full((63,), 2), row.flatten(), column.flatten()
        )
    expected = rig.image_rays(2)
    torch.testing.assert_close(origins, expected[0])
    torch.testing.assert_close(directions, expected[1])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_point_on_the_ray_projects_to_the_pixel_center(backend):
    rig = cameras()
    with use(backend):
        batch = sample_rays(rig.camera_to_world, rig.intrinsics, 7, 9, 64, seed=1, step=2)
    pixels, depth = rig.project(batch.origins + 1.7 * batch.directions)  # (N, R, 2), (N, R)
    chosen = batch.view, torch.arange(64)
    expected = torch.stack([batch.column + 0.5, batch.row + 0.5], -1)
    torch.testing.assert_close(pixels[chosen], expected, rtol=0, atol=1e-4)
    assert (depth[chosen] > 0).all()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_choice_is_exact_integer_arithmetic(backend):
    rig = cameras()
    words = philox_reference.words(Draw(9, 8), philox.RAYS, torch.arange(100))
    with use(backend):
        batch = sample_rays(rig.camera_to_world, rig.intrinsics, 4001, 3999, 100, seed=9, step=8)
    for chosen, word, n in zip(batch[2:], words, (5, 4001, 3999), strict=False):
        assert chosen.tolist() == [int(w) * n // 2**32 for w in word]


def test_every_pixel_is_drawn_alike():
    rig = cameras()
    batch = sample_rays(rig.camera_to_world, rig.intrinsics, 3, 2, 12000, seed=0, step=0, views=torch.tensor([1, 3]))
    counts = torch.bincount((batch.view * 3 + batch.row) * 2 + batch.column, minlength=30).view(5, 6)
    assert (counts[[0, 2, 4]] == 0).all()
    assert ((counts[[1, 3]] - 1000).abs() < 150).all()  # five standard deviations


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_pieces_are_the_whole(backend):
    rig = cameras()
    arguments = (rig.camera_to_world, rig.intrinsics, 7, 9)
    with use(backend):
        whole = sample_rays(*arguments, 40, seed=1, step=2)
        pieces = [sample_rays(*arguments, 20, seed=1, step=2, first=first) for first in (0, 20)]
    for name, value in whole._asdict().items():
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), value), name


def test_gradcheck_of_the_reference():
    poses, intrinsics, *pixels = (x[:12] if x.ndim == 1 else x for x in double(make("ordinary")))

    def rays(poses, intrinsics):
        with use("reference"):
            return rays_from_pixels(poses, intrinsics, *pixels)

    assert torch.autograd.gradcheck(rays, (poses.requires_grad_(), intrinsics.requires_grad_()))


# Rung 2: the CPU kernel.


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("case", CASES)
def test_cpu_agrees(case, poison):
    assert_agrees("cpu", case)


def test_cpu_chooses_the_same_pixels(poison):
    assert_same_choice("cpu")


@pytest.mark.usefixtures("all_threads")
def test_cpu_does_not_depend_on_the_number_of_threads():
    import numba

    available = numba.get_num_threads()
    several = outputs_and_gradients(make("ordinary"))
    numba.set_num_threads(1)
    try:
        single = outputs_and_gradients(make("ordinary"))
    finally:
        numba.set_num_threads(available)
    assert all(torch.equal(several[name], single[name]) for name in single)


def test_views_that_are_not_contiguous():
    poses, intrinsics, *pixels = make("ordinary")
    strided = poses.transpose(1, 2).contiguous().transpose(1, 2), intrinsics.t().contiguous().t()
    expected, actual = outputs_and_gradients((poses, intrinsics, *pixels)), outputs_and_gradients((*strided, *pixels))
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera_to_world": torch.zeros(2, 4, 4)}, r"camera_to_world: expected .*\(N,3,4\)"),
        ({"intrinsics": torch.zeros(3, 4)}, r"intrinsics: expected .*\(2,4\)"),
        ({"intrinsics": torch.zeros(2, 4).double()}, "intrinsics: expected torch.float32 .* got torch.float64"),
        ({"view": torch.zeros(3).int()}, "view: expected torch.int64"),
        ({"row": torch.zeros(4).long()}, r"row: expected .*\(3,\)"),
        ({"view": torch.tensor([0, 1, 2])}, r"view: expected numbers in \[0, 2\)"),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"camera_to_world": torch.zeros(2, 3, 4), "intrinsics": torch.ones(2, 4)}
    arguments |= dict.fromkeys(("view", "row", "column"), torch.zeros(3).long())
    with pytest.raises(ValueError, match=message):
        rays_from_pixels(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": torch.tensor([0, 5])}, r"views: expected numbers in \[0, 5\)"),
        ({"views": torch.zeros(0).long()}, "cannot draw 8 rays from 0 views"),
        ({"height": 0}, "cannot draw 8 rays from 5 views of 0 x 9"),
        ({"count": -1}, "cannot draw -1 rays"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_draws(change, message):
    rig = cameras()
    arguments = {"camera_to_world": rig.camera_to_world, "intrinsics": rig.intrinsics, "height": 7, "width": 9}
    with pytest.raises(ValueError, match=message):
        sample_rays(**(arguments | {"count": 8, "seed": 0, "step": 0} | change))


def test_compiled_kernels_take_float32_only():
    with use("cpu"), pytest.raises(ValueError, match="float32"):
        rays_from_pixels(*double(make("ordinary")))


# Rung 3: Triton in its interpreter.


@pytest.mark.interpreted
@pytest.mark.parametrize("case", CASES)
def test_triton_agrees(case, poison):
    assert_agrees("triton", case)


@pytest.mark.interpreted
def test_triton_chooses_the_same_pixels(poison):
    assert_same_choice("triton")


SIZES, OFFSETS = ((37, 55), (1, 1), (46, 44)), (2035, 2036, 2036 + 2024)


MEMBERS = {
    "some": lambda p: p * 7919 % 5 < 2,
    "all": lambda p: p >= 0,
    "last": lambda p: p == p[-1],
    "far apart": lambda p: p % 1000 == 999,
    "ends": lambda p: (p % 64 == 63) | (p % 512 == 0),
}


def photos_and_cameras():
    generator = torch.Generator().manual_seed(6)
    images = [torch.randint(0, 256, (*size, 4), generator=generator).to(torch.uint8) for size in SIZES]
    offsets, widths = torch.tensor([0, *OFFSETS]), torch.tensor([w for _, w in SIZES])
    cameras = torch.eye(3, 4).expand(3, 3, 4).contiguous(), torch.tensor([9.0, 8.0, 3.0, 2.0]).expand(3, 4).contiguous()
    return images, (*cameras, torch.cat([image.view(-1, 4) for image in images]), offsets, widths)


def chosen_pixels(member, device="cpu"):
    """A set, filled photo by photo, the last one in two pieces."""
    found = PixelSet(OFFSETS[-1], device)
    for first, last in ((0, 2035), (2035, 2036), (2036, 2100), (2100, 2036 + 2024)):
        found.add(first, member[first:last].to(device))
    return found


def drawn_photos(backend, members, device="cpu", among=None):
    """Rays, pixels and colors of some pixels of three photos of different sizes."""
    chosen = chosen_pixels(MEMBERS[members](torch.arange(OFFSETS[-1])), device)
    inputs = (t.to(device) for t in photos_and_cameras()[1])
    with use(backend):
        batch, rgba = sample_photos(*inputs, chosen, 1000, seed=2**40 + 1, step=7, among=among)
    return [t.cpu() for t in (*batch, rgba)]


def assert_same_photos(backend, device="cpu"):
    for members in MEMBERS:
        expected, found = drawn_photos("reference", members), drawn_photos(backend, members, device)
        assert all(torch.equal(a, b) for a, b in zip(found[2:], expected[2:], strict=True))
        torch.testing.assert_close(found[:2], expected[:2])


@pytest.mark.parametrize("members", MEMBERS)
def test_photos_of_chosen_pixels(members):
    images, _ = photos_and_cameras()
    listed = MEMBERS[members](torch.arange(OFFSETS[-1])).nonzero()[:, 0]
    u = philox.uniform(Draw(2**40 + 1, 7), philox.RAYS, 1000, 2).double()
    for among in ((0, len(listed)), (len(listed) // 3, len(listed))):
        _, _, view, row, column, rgba = drawn_photos("reference", members, among=among)
        there = list(zip(view.tolist(), row.tolist(), column.tolist(), strict=True))
        assert torch.equal(rgba, torch.stack([images[v][i, j] for v, i, j in there]).float() / 255)
        drawn = torch.tensor([[0, *OFFSETS][v] + i * SIZES[v][1] + j for v, i, j in there])
        number = among[0] + ((u[:, 0] + u[:, 1] * 2.0**-24) * (among[1] - among[0])).long()
        assert torch.equal(drawn, listed[number])
    assert_same_photos("cpu")


def test_a_set_counts_a_pixel_once_and_is_what_is_drawn_from():
    member = torch.arange(OFFSETS[-1]) % 3 == 0
    chosen = chosen_pixels(member)
    chosen.add(100, torch.ones(50, dtype=torch.bool))
    member[100:150] = True
    assert chosen.size == member.sum()
    for first in (100, -1, OFFSETS[-1]):
        with pytest.raises(ValueError, match="cannot add pixels"):
            chosen.add(first, torch.ones(1, dtype=torch.bool))
    inputs = photos_and_cameras()[1]
    with pytest.raises(ValueError, match=r"among: expected a part of the \d+ chosen"):
        sample_photos(*inputs, chosen, 1, seed=0, step=0, among=(0, OFFSETS[-1]))
    with pytest.raises(ValueError, match="cannot draw 1 rays from 0 pixels"):
        sample_photos(*inputs, PixelSet(OFFSETS[-1]), 1, seed=0, step=0)
    with pytest.raises(ValueError, match="photos: expected"):
        sample_photos(*inputs, PixelSet(7), 1, seed=0, step=0)


@pytest.mark.interpreted
def test_triton_photos(poison):
    assert_same_photos("triton")


@pytest.mark.gpu
def test_gpu_photos(poison):
    assert_same_photos("triton", "cuda")


# Rung 4: Triton compiled, inside its budget.

FLOATS = ("poses", "intrinsics", "origins", "directions")
SIGNATURE = {
    **{f"{name}_ptr": "*fp32" for name in (*FLOATS, *(f"grad_{name}" for name in FLOATS))},
    **{f"{name}_ptr": "*i64" for name in ("view", "row", "column", "order", "bounds", "pixels")},
    **{f"{name}_ptr": "*i64" for name in ("views", "bits", "before", "offsets", "widths")},
    **dict.fromkeys(("step", "first", "view_count", "height", "width", "count", "blocks", "views"), "i32"),
    **dict.fromkeys(("seed", "low", "high"), "i64"),
    **{"photos_ptr": "*u8", "rgba_ptr": "*fp32"},
}


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target):
    from nerfkit.kernels.sample_rays import triton

    for name in ("choose", "members", "forward", "backward"):
        kernel, constants = getattr(triton, f"{name}_kernel"), {"BLOCK": triton.BLOCK}
        constants |= {"BLOCK_HALVINGS": 21, "VIEW_HALVINGS": 7, "WORDS": 8} if name == "members" else {}
        ladder.check_budget(f"sample_rays.{name}", target, kernel, SIGNATURE, constants)


# Rung 5: on a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu(case, poison):
    inputs = make(case, "cuda")
    actual, again = outputs_and_gradients(inputs), outputs_and_gradients(inputs)
    with use("reference"):
        peer = outputs_and_gradients(inputs)
        exact = outputs_and_gradients(double(inputs))
    for name in actual:
        assert torch.equal(actual[name], again[name]), name
        ladder.assert_error_at_most_twice(actual[name], peer[name], exact[name], name)


@pytest.mark.gpu
def test_gpu_chooses_the_same_pixels(poison):
    assert_same_choice("triton", "cuda")
