"""Highlights: the formula, the file, and a fit that finds them where they are and nothing where there are none."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit.errors import CheckpointError
from nerfkit.fit import specular_fit
from nerfkit.fit.refine_measure import evaluate_mesh, picture
from nerfkit.fit.specular import Specular, SpecularSource, render_specular
from nerfkit.fit.specular_fit import fit_specular
from nerfkit.fit.watch import NotFiniteError
from nerfkit.mesh.bake import bake_vertex_colors
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import rasterize, render_channels
from nerfkit.runs import checkpoints
from nerfkit.runs.folder import Run
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from tests.fit.test_refine import SIZE, KilledError, ball, options, scene as scene


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return replace(bake_vertex_colors(unwrap(ball((0.6, 0.6, 0.6)), 64), 64), colors=None)


def highlights(mesh: Mesh, strength: float) -> Specular:
    assert mesh.texture is not None
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, 0.4, 1.0], [-1.0, 0.2, 0.0]]), dim=-1)
    color = torch.tensor([[0.5, 0.5, 0.4], [0.1, 0.2, 0.5]])
    return Specular(mesh.texture, torch.full((16, 16), strength), direction, torch.tensor([15.0, 8.0]), color)


def test_light_is_the_formula(mesh: Mesh) -> None:
    given = highlights(mesh, 0.7)
    mirrored = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = given.light(torch.rand(5, 2), mirrored)
    for p in range(5):
        expected = torch.zeros(3)
        for k in range(2):
            bend = given.sharpness[k] * (torch.dot(mirrored[p], given.direction[k]) - 1)
            expected += 0.7 * given.color[k] * math.exp(bend)
        assert torch.allclose(found[p], expected, atol=1e-6)


def test_a_highlight_is_where_a_mirror_would_show_the_lamp(mesh: Mesh, scene: Scene) -> None:
    """On a sphere the highlight's normal is half way between the lamp and the camera."""
    assert mesh.texture is not None
    camera = scene.cameras[[0]].resized(200, 200)
    lamp = torch.nn.functional.normalize(camera.positions[0] + torch.tensor([1.0, 1.5, -0.5]), dim=-1)
    dark = replace(mesh, texture=torch.zeros_like(mesh.texture))
    one = Specular(dark.texture, torch.ones(16, 16), lamp[None], torch.tensor([300.0]), torch.ones(1, 3))  # type: ignore[arg-type]
    shown = render_specular(dark, one, camera, ("rgb", "normal"))
    brightest = shown["rgb"][0, ..., 0].flatten().argmax()
    normal = shown["normal"][0].view(-1, 3)[brightest]
    view = torch.nn.functional.normalize(camera.positions[0] - 0.6 * normal, dim=-1)
    half = torch.nn.functional.normalize(view + lamp, dim=-1)
    assert torch.dot(normal, half) > math.cos(math.radians(4))


def test_file_and_pictures(mesh: Mesh, scene: Scene, tmp_path: Path) -> None:
    given = highlights(mesh, 0.7)
    given.save(tmp_path / "specular.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["specular.npz"]
    read = Specular.load(tmp_path / "specular.npz")
    assert torch.equal(read.sharpness, given.sharpness) and torch.equal(read.strength, given.strength)
    assert (read.diffuse - given.diffuse).abs().max() <= 0.5 / 255 + 1e-6
    shown = SpecularSource(mesh, read, (0.0, 0.0, 0.0)).render(scene.cameras, 0)
    plain = render_channels(mesh, scene.cameras[0])["rgb"][0]
    assert set(shown) == {"rgb", "alpha", "depth", "normal"}
    assert shown["rgb"].shape == (SIZE, SIZE, 3)
    assert (shown["rgb"] - plain).max() > 0.1
    assert shown["rgb"].max() <= 1
    for content in (b"", b"not an archive"):
        (tmp_path / "specular.npz").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"specular\.npz"):
            Specular.load(tmp_path / "specular.npz")


def test_pictures_are_those_of_the_mesh_and_its_light(mesh: Mesh, scene: Scene) -> None:
    """Pixel by pixel: the diffuse picture, and on the mesh what its corners' UVs, places and normals reflect."""
    given, camera, background = highlights(mesh, 0.7), scene.cameras[[1]], (0.2, 0.4, 0.6)
    given = replace(given, diffuse=given.diffuse.roll(3, 0))
    found = SpecularSource(mesh, given, background).pictures(camera, ("rgb", "normal", "alpha"))
    plain = render_channels(replace(mesh, texture=given.diffuse), camera, ("rgb", "normal", "alpha"), background)
    assert torch.equal(found["alpha"], plain["alpha"]) and torch.equal(found["normal"], plain["normal"])
    fragments = rasterize(mesh.vertices, mesh.faces, camera)
    normals, expected = vertex_normals(mesh.vertices, mesh.faces), plain["rgb"][0].clone()
    assert mesh.corner_uvs is not None
    for row, column in fragments.covered[0].nonzero()[::7].tolist():
        face, weights = fragments.face[0, row, column], fragments.barycentrics[0, row, column]
        place, normal = (weights @ t[mesh.faces[face]] for t in (mesh.vertices, normals))
        view = torch.nn.functional.normalize(camera.positions[0] - place, dim=0)
        normal = torch.nn.functional.normalize(normal, dim=0)
        mirrored = torch.nn.functional.normalize(2 * torch.dot(normal, view) * normal - view, dim=0)
        expected[row, column] += given.light((weights @ mesh.corner_uvs[face])[None], mirrored[None])[0]
        torch.testing.assert_close(found["rgb"][0, row, column], expected[row, column].clamp(0, 1), atol=1e-5, rtol=0)
    bare = ~fragments.covered
    assert torch.equal(found["rgb"][bare], plain["rgb"][bare].clamp(0, 1))


def test_roughness_is_low_where_the_highlights_are(mesh: Mesh) -> None:
    given = highlights(mesh, 0.0)
    given.strength[:8] = 1.0
    rough = given.roughness()
    assert (rough[8:] == 1).all()
    weight = given.color.sum(-1)
    sharpness = ((weight * given.sharpness).sum() / weight.sum()).item()
    assert rough[0, 0].item() == pytest.approx((2 * sharpness) ** -0.25)


def shiny(mesh: Mesh, scene: Scene, strength: float) -> Scene:
    """The scene's views of ``mesh`` with such highlights."""
    given = highlights(mesh, strength)
    images = torch.zeros_like(scene.images.stack())
    for view in range(len(images)):
        rgb, alpha = picture(mesh, scene, view, given)
        images[view] = (torch.cat([rgb, alpha[..., None]], -1) * 255).round().to(torch.uint8)
    return replace(scene, images=Photos.of(images))


@pytest.mark.slow
def test_the_fit_finds_highlights(mesh: Mesh, scene: Scene) -> None:
    views = shiny(mesh, scene, 1.0)
    specular, facts = fit_specular(mesh, views, options(specular_steps=150, specular_lobes=12))
    assert specular is not None
    assert facts["kept"] and facts["gain_on_held_out_training_views"] > 0.5
    found = evaluate_mesh(mesh, views, views.test, specular=specular)
    assert found["psnr_specular"] > found["psnr"] + 0.5, "on views that it did not see"


def test_a_fit_that_is_killed_again_and_again_is_the_one_in_one_go(
    mesh: Mesh, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = shiny(mesh, scene, 1.0)
    chosen = options(specular_steps=14, specular_lobes=5, specular_gain=-9.0, checkpoint_every=0)
    monkeypatch.setattr(specular_fit, "BATCH", 700)  # some rounds through the pixels
    expected, facts = fit_specular(mesh, views, chosen)
    run, whole, life = Run(tmp_path), specular_fit._Fit.step, [0]

    def mortal(fit: Any, share: float) -> dict[str, float]:
        life[0] -= 1
        if life[0] < 0:
            raise KilledError
        return whole(fit, share)

    monkeypatch.setattr(specular_fit._Fit, "step", mortal)
    for life[0] in (1, 5, 4):
        with pytest.raises(KilledError):
            fit_specular(mesh, views, chosen, run)
    life[0] = 4
    found, same = fit_specular(mesh, views, chosen, run)
    assert life[0] == 0, "no step was made twice"
    assert same == facts and found is not None and expected is not None
    for name, value in vars(expected).items():
        assert torch.equal(getattr(found, name), value), name
    assert checkpoints.steps(tmp_path, "specular")[0] == 14
    for other in (replace(chosen, specular_steps=15), replace(chosen, texture_smoothness=0.2)):
        with pytest.raises(KilledError):  # another fit begins at its beginning
            fit_specular(mesh, views, other, run)
        assert checkpoints.steps(tmp_path, "specular") == []


def test_no_highlights_are_kept_where_there_are_none(mesh: Mesh, scene: Scene) -> None:
    specular, facts = fit_specular(mesh, shiny(mesh, scene, 0.0), options(specular_steps=20, specular_lobes=12))
    assert specular is None
    assert not facts["kept"]


def test_too_few_views_to_judge(mesh: Mesh, scene: Scene) -> None:
    specular, facts = fit_specular(mesh, replace(scene, train=scene.train[:2]), options())
    assert specular is None and facts == {"kept": False}


def test_the_pixel_that_spoils_a_step_is_named(mesh: Mesh, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, places = specular_fit._pixels, []

    def with_nan(*given: Any) -> tuple[torch.Tensor, ...]:
        uv, mirrored, rgb, place = pixels(*given)
        view, x, y = place.long().unbind(1)
        assert torch.equal(scene.images.stack()[view, y, x, :3], rgb)
        mirrored[99] = math.nan
        places.extend(place[99].tolist())
        return uv, mirrored, rgb, place

    monkeypatch.setattr(specular_fit, "_pixels", with_nan)
    with pytest.raises(NotFiniteError, match=r"^specular: step 0: .*term: image\) \(rays: photo number") as caught:
        fit_specular(mesh, scene, options(specular_steps=2))
    assert caught.value.where == "rays: photo number {} at x {}, y {}".format(*places)
