"""Exposure of each photo: its formula, its gauge, that it is learned, saved, and taken out of measures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.exposure import Exposure, aligned
from nerfkit.scenes import Scene, open_scene
from nerfkit.scenes.photos import Photos
from tests.fit.test_field import new_fit
from tests.scenes.builders import ring, write_kaolin


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(16))
    return open_scene("kaolin", folder, holdout=5)


def test_formula_and_gauge() -> None:
    exposure = Exposure(4, [1, 2])
    with torch.no_grad():
        exposure.log_gain[1], exposure.log_gain[2] = 0.5, 0.1
        exposure.offset[1] = 0.02
    color, opacity = torch.full((2, 3), 0.4), torch.tensor([1.0, 0.5])
    found = exposure(color, opacity, torch.tensor([1, 2]))
    expected = torch.tensor([0.4 * 2.718281828**0.2 + 0.02, 0.4 * 2.718281828**-0.2])
    torch.testing.assert_close(found, expected[:, None].expand(2, 3))
    brighter = Exposure(4, [1, 2])
    with torch.no_grad():
        brighter.log_gain[1:3] = 0.7  # all photos alike: nothing to correct
    torch.testing.assert_close(brighter(color, opacity, torch.tensor([1, 2])), color)
    alone = Exposure(1, [])  # of a photo that is compared with a field that is done: no mean is taken out
    with torch.no_grad():
        alone.log_gain[0] = 0.5
    torch.testing.assert_close(alone(color, opacity, torch.zeros(2, dtype=torch.int64)), color * 2.718281828**0.5)
    exposure.double()
    rays = color.double().requires_grad_(), opacity.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: exposure(*given, torch.tensor([1, 2])), rays)


def test_alignment_takes_gain_and_offset_out() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 0.2 + 0.6 * torch.rand(8, 9, 3, generator=generator)
    other = (true - 0.05) / torch.tensor([1.2, 0.9, 1.1])
    known = torch.ones(8, 9, dtype=torch.bool)
    torch.testing.assert_close(aligned(other, true, known), true, atol=1e-6, rtol=0)
    known[0] = False
    true[0] = 1.0  # does not count
    torch.testing.assert_close(aligned(other, true, known)[1:], true[1:], atol=1e-6, rtol=0)
    flat = torch.full((8, 9, 3), 0.3)
    assert aligned(flat, true, known).isfinite().all()


@pytest.mark.slow
def test_photos_of_different_exposures_are_told_apart(scene: Scene, tmp_path: Path) -> None:
    """Held-out photos, whose exposure is the mean, come out better; the gains found are those that were put in."""
    gain = torch.ones(16)
    gain[scene.train] = 1 + 0.2 * torch.tensor([(-1.0) ** k for k in range(len(scene.train))])
    pairs = zip(scene.images, gain, strict=True)
    photos = [torch.cat([(photo[..., :3] * g).clamp(0, 255), photo[..., 3:]], -1) for photo, g in pairs]
    uneven = replace(scene, images=Photos.of([photo.to(torch.uint8) for photo in photos]))
    words = ("trainer.max_steps=250", "trainer.samples=4096")
    psnr, found = {}, torch.zeros(16, 3)
    for exposure in ("on", "off"):
        fit = new_fit(uneven, tmp_path / exposure, *words, f"trainer.exposure={exposure}")
        psnr[exposure] = evaluate_field(fit.train(), uneven)["psnr"]
        if fit.corrections.exposure is not None:
            gray = torch.full((16, 3), 0.5)  # gain and offset share the work
            found = fit.corrections.exposure(gray, torch.ones(16), torch.arange(16)).detach() / gray
    assert psnr["on"] > psnr["off"] + 1
    assert (found.mean(1) / gain)[scene.train].std() < 0.7 * gain[scene.train].std()
