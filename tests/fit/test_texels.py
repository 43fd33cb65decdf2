"""Texels that few or no pixels look at: the ties between neighbors, what is seen, and the filling."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.fit import refine_phases, specular_fit, texels
from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.specular_fit import fit_specular
from nerfkit.fit.texels import CORNER, FEW, Ties, fill_unseen, texel_looks
from nerfkit.kernels import use
from nerfkit.mesh.bake import bake_vertex_colors, texel_map
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import sample_texture
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from tests.fit.test_refine import ball, options, scene as scene

SIDE = 18


def square(size: int, seed: int = 0) -> Mesh:
    """[0,1]^2 at z = 0 with u = x and v = y: every texel lies in the one chart."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    texture = torch.rand(size, size, 3, generator=torch.Generator().manual_seed(seed))
    return Mesh(vertices, faces, vertices[faces][..., :2].contiguous(), None, texture)


def pepper(texture: Tensor) -> float:
    """Share of inner texels (A,B,3) of which a channel is more than .15 off its 3x3 median."""
    around = texture.unfold(0, 3, 1).unfold(1, 3, 1).flatten(3)  # (A-2, B-2, 3, 9)
    return ((texture[1:-1, 1:-1] - around.median(-1).values).abs().amax(-1) > 0.15).float().mean().item()


def huber(difference: float) -> float:
    size = abs(difference)
    return size - CORNER / 2 if size > CORNER else size**2 / (2 * CORNER)


def test_ties_are_a_sum_over_pairs_and_their_gradient_is_its_own() -> None:
    mesh = square(4)
    assert mesh.corner_uvs is not None and mesh.texture is not None
    looks = torch.arange(16.0).view(4, 4)
    ties = Ties(mesh.corner_uvs, looks)
    texture = (0.05 * mesh.texture.double()).requires_grad_()  # on both sides of the corner
    expected = 0.0
    for i in range(4):
        for j in range(4):
            for k, m, weight in ((i + 1, j, 0.7), (i, j + 1, 0.7), (i + 1, j + 1, 0.3), (i + 1, j - 1, 0.3)):
                if k < 4 and 0 <= m < 4:
                    weight *= FEW / (FEW + looks[i, j].item())
                    expected += weight * sum(huber(d) for d in (texture[k, m] - texture[i, j]).tolist()) / 3
    assert ties(texture).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(ties, texture)


def test_nothing_ties_two_charts() -> None:
    mesh = bake_vertex_colors(unwrap(ball((1.0, 1.0, 1.0), 1), 48), 48)
    assert mesh.corner_uvs is not None and mesh.texture is not None
    inside = texel_map(mesh.corner_uvs, 48, 48)[0] >= 0
    gutter = torch.where(inside[..., None], 0.5, mesh.texture).requires_grad_()
    Ties(mesh.corner_uvs, torch.zeros(48, 48))(gutter).backward()
    beside = torch.nn.functional.max_pool2d(inside[None].float(), 3, 1, 1)[0] > 0
    assert gutter.grad is not None
    assert not gutter.grad[~beside].any()
    assert gutter.grad[beside & ~inside].any(), "look-ups at a chart's border read these"


def fitted(mesh: Mesh, uv: Tensor, colors: Tensor, smoothness: float) -> Tensor:
    """The texture after 60 steps toward pixels ``colors`` (P,3) at ``uv`` (P,2), as the fits do them."""
    assert mesh.corner_uvs is not None and mesh.texture is not None
    texture = torch.full_like(mesh.texture, 0.5).requires_grad_()
    counted = texture * 0 + 1
    (looks,) = torch.autograd.grad(sample_texture(counted, uv).sum() / 3, counted)  # a channel counts a third
    ties, optimizer = Ties(mesh.corner_uvs, looks.sum(-1)), torch.optim.Adam([texture], betas=(0.5, 0.999))
    for step in range(60):
        error = (sample_texture(texture, uv) - colors).abs().mean()
        optimizer.zero_grad()
        (error + smoothness * ties(texture) / len(uv)).backward()
        optimizer.param_groups[0]["lr"] = 0.1 * 0.05 ** (step / 60)
        optimizer.step()
    return texture.detach()


def test_pepper_goes_where_few_pixels_look_and_edges_stay_where_many_do() -> None:
    """Left half: half a pixel a texel, a fifth of them black or white. Right half: twelve, of stripes 3 texels wide."""
    generator = torch.Generator().manual_seed(0)
    uv = torch.rand(SIDE**2 * 13 // 2, 2, generator=generator)
    few = len(uv) // 26
    uv[:few, 0], uv[few:, 0] = uv[:few, 0] / 2, 0.5 + uv[few:, 0] / 2
    stripe = (uv[:, :1] * SIDE / 3).floor() % 2
    colors = torch.where(uv[:, :1] < 0.5, 0.6, 0.1 + 0.8 * stripe).expand(-1, 3).clone()
    odd = torch.rand(few, generator=generator)
    colors[:few][odd < 0.1], colors[:few][odd > 0.9] = 0.0, 1.0
    with use("reference"):  # the quickest for so few
        alone, tied = (fitted(square(SIDE), uv, colors, smoothness) for smoothness in (0.0, 0.5))
    left, right = slice(0, SIDE // 2), slice(SIDE // 2, SIDE)
    assert pepper(alone[:, left]) > 0.1
    assert pepper(tied[:, left]) < 0.01
    loss = [(sample_texture(texture, uv) - colors)[few:].abs().mean().item() for texture in (alone, tied)]
    assert loss[1] < loss[0] + 0.005
    assert tied[:, right].amax() > 0.88 and tied[:, right].amin() < 0.12


def photos(*positions: tuple[float, float, float], coverage: int = 255) -> Scene:
    """Photos from these places toward the origin, all for training."""
    count = len(positions)
    poses = look_at(torch.tensor(positions), torch.zeros(3), torch.tensor([0.0, 1.0, 0.1]))
    cameras = Cameras(poses, torch.tensor([[160.0, 160.0, 40.0, 40.0]]).repeat(count, 1), 80, 80)
    images = torch.full((count, 80, 80, 4), coverage, dtype=torch.uint8)
    return Scene("any", Photos.of(images), cameras, list(range(count)), [])


@pytest.fixture(scope="module")
def globe() -> Mesh:
    """A sphere of radius 1 in many charts, whose texture shows its colors at every point."""
    return replace(bake_vertex_colors(unwrap(ball((1.0, 1.0, 1.0)), 96), 96), colors=None)


def heights(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Which texels (A,B) lie in charts, and z there, 0 elsewhere."""
    assert mesh.corner_uvs is not None and mesh.texture is not None
    face, weights = texel_map(mesh.corner_uvs, *mesh.texture.shape[:2])
    return face >= 0, (mesh.vertices[mesh.faces[face]][..., 2] * weights).sum(-1)


def test_a_photo_sees_the_side_of_a_sphere_that_faces_it(globe: Mesh) -> None:
    """From distance 4 the sphere is seen down to z = 1 / 4."""
    inside, z = heights(globe)
    looks = texel_looks(globe, photos((0.0, 0.0, 4.0)))
    seen = looks > 0
    assert looks.sum() == pytest.approx(math.pi * 160**2 / 15, rel=0.02), "pixels within a circle of 1 / sqrt(15)"
    assert seen[inside & (z > 0.5)].all()
    assert not seen[inside & (z < 0.1)].any()
    assert (texel_looks(globe, photos((0.0, 0.0, 4.0), (0.0, 0.0, -4.0)))[inside & (z < -0.5)] > 0).all()
    assert not texel_looks(globe, photos((0.0, 0.0, 4.0), coverage=100)).any(), "the mask does not cover them"


def test_looks_of_photos_of_any_sizes_add_up(globe: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are counted together."""
    both = photos((0.0, 0.0, 4.0), (1.0, 3.0, 2.0), (-3.0, 0.0, 2.0), (0.0, 0.5, -4.0))
    sizes = [(80, 80), (80, 80), (60, 70), (80, 80)]
    scene = replace(
        both,
        images=Photos.of([torch.full((*size, 4), 255, dtype=torch.uint8) for size in sizes]),
        cameras=Cameras(both.cameras.camera_to_world, both.cameras.intrinsics, *map(list, zip(*sizes, strict=True))),
    )
    each = sum(texel_looks(globe, replace(scene, train=[view])) for view in range(4))
    torch.testing.assert_close(texel_looks(globe, scene), each, rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(texels, "PIXELS", 80 * 80)
    torch.testing.assert_close(texel_looks(globe, scene), each, rtol=1e-5, atol=1e-4)


def test_refinement_tells_the_looks_of_its_result(scene: Scene) -> None:
    told: list[Tensor] = []
    refined = refine_mesh(ball((0.6, 0.6, 0.6), 1), scene, options(steps=2), looks=told.append)
    assert torch.equal(told[0], texel_looks(refined, scene))


def test_unseen_texels_are_filled_from_around_across_seams(globe: Mesh) -> None:
    inside, z = heights(globe)
    assert globe.texture is not None
    seen = inside & (z.abs() > 0.15)
    broken = replace(globe, texture=torch.where(seen[..., None], globe.texture, 0.0))
    filled = fill_unseen(broken, seen).texture
    assert filled is not None
    assert torch.equal(filled[seen], globe.texture[seen])
    error = (filled - globe.texture)[inside & ~seen].abs()
    assert error.mean() < 0.06 and error.max() < 0.35, "colors differ by up to 0.8 over the sphere"
    outside = filled[~inside]
    assert outside.amin() > 0.05, "gutters are filled, too"


def test_a_slope_goes_on_through_a_hole() -> None:
    mesh = square(16)
    ramp = (torch.arange(16) / 15)[None, :, None].expand(16, 16, 3).contiguous()
    seen = torch.ones(16, 16, dtype=torch.bool)
    seen[6:10, 6:10] = False
    filled = fill_unseen(replace(mesh, texture=torch.where(seen[..., None], ramp, 1.0)), seen).texture
    assert filled is not None
    assert torch.allclose(filled, ramp, atol=1e-3)


def test_what_hangs_together_with_nothing_seen_stays() -> None:
    first, second = square(8), square(8)
    away = first.vertices + torch.tensor([3.0, 0, 0])
    assert first.corner_uvs is not None and second.corner_uvs is not None
    uvs = torch.cat([first.corner_uvs * 0.4, second.corner_uvs * 0.4 + 0.6])
    faces = torch.cat([first.faces, second.faces + 4])
    texture = torch.rand(40, 40, 3, generator=torch.Generator().manual_seed(1))
    mesh = Mesh(torch.cat([first.vertices, away]), faces, uvs, None, texture)
    inside = texel_map(uvs, 40, 40)[0] >= 0
    lower = inside & (torch.arange(40) < 20)  # the first square's
    filled = fill_unseen(mesh, lower).texture
    assert filled is not None and torch.equal(filled[inside], texture[inside])
    unseen = fill_unseen(mesh, lower & False).texture
    assert unseen is not None and torch.equal(unseen[inside], texture[inside])
    assert math.isfinite(unseen.sum())


def test_without_smoothness_no_ties_are_prepared(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    def refused(*_: object) -> None:
        pytest.fail("nothing is tied, and it is made ready")

    for module in (refine_phases, specular_fit):
        monkeypatch.setattr(module, "Ties", refused)
    chosen = options(steps=2, texture_smoothness=0.0, specular_steps=2)
    refined = refine_mesh(ball((0.6, 0.6, 0.6), 1), scene, chosen)
    fit_specular(refined, scene, chosen)
