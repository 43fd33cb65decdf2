"""The field stage on a tiny sphere: it learns, resumes exactly, and stops cleanly."""

import math
import re
import signal
import weakref
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.average import RunningAverage
from nerfkit.fit.evaluate import evaluate_field
from nerfkit.fit.field import FieldFit
from nerfkit.fit.pixels import TrainingRays
from nerfkit.fit.watch import NotFiniteError
from nerfkit.kernels.pixel_loss import pseudo_huber
from nerfkit.options import compose
from nerfkit.results import new_fit as build
from nerfkit.runs import checkpoints, memory
from nerfkit.runs.folder import Run
from nerfkit.scenes import Scene, open_scene
from tests.scenes.builders import ring, write_kaolin

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

SMALL = [
    *("field.width=16", "field.depth=2", "field.octaves=3"),
    *("sampler.resolution=16", "sampler.step_size=0.06", "sampler.update_every=4", "sampler.warmup=8"),
    *("sampler.share=2", "trainer.samples=2048", "trainer.warmup=10"),
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = write_kaolin(tmp_path_factory.mktemp("sphere") / "views", ring(12))
    return open_scene("kaolin", folder, holdout=6)


def new_fit(scene: Scene, folder: Path, *words: str, steps: int = 20, device: str = "cpu") -> FieldFit:
    config: DictConfig = compose("train", ["scene=kaolin", *SMALL, f"trainer.max_steps={steps}", *words])
    folder.mkdir(exist_ok=True)
    return build(config, scene, Run(folder), torch.device(device))


def weights(fit: FieldFit) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in (*fit.model.parameters(), *fit.average.parameters())])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # the latter where the processor has it
def test_it_learns_the_sphere(scene: Scene, tmp_path: Path, precision: str) -> None:
    fit = new_fit(scene, tmp_path, f"field.precision={precision}", steps=150)
    before = evaluate_field(fit.average, scene)
    fit.train()
    after = evaluate_field(fit.average, scene, tmp_path / "images")
    assert after["psnr"] > before["psnr"] + 6
    assert [row["view"] for row in after["views"]] == scene.test == [0, 6]
    assert (tmp_path / "images" / "field_006.png").exists()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_resume_is_exact(scene: Scene, tmp_path: Path) -> None:
    whole = new_fit(scene, tmp_path / "whole", steps=24)
    whole.train()
    first = new_fit(scene, tmp_path / "parts", steps=24)
    for _ in range(11):
        first.step()
    first.save()
    second = new_fit(scene, tmp_path / "parts", steps=24)
    second.load_state_dict(checkpoints.load_latest(tmp_path / "parts")[1])
    assert second.progress.step == 11
    second.train()
    assert torch.equal(weights(second), weights(whole))
    assert second.progress.rays == whole.progress.rays


def test_the_state_that_did_best_is_kept_apart(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of previews at 2, 4, ... steps the third is best; a start that goes on from there forgets what was kept later."""
    seen = {2: 20.0, 4: 21.0, 6: 23.0, 8: 22.0, 10: 22.5}
    monkeypatch.setattr("nerfkit.fit.field.preview_field", lambda *words: seen.get(words[3], 0.0))
    words = ["trainer.keep_best=true", "trainer.preview_every=0.2"]
    new_fit(scene, tmp_path, *words, steps=10).train()
    assert checkpoints.steps(tmp_path, "best") == [6] and checkpoints.steps(tmp_path)[0] == 10
    best = checkpoints.load_latest(tmp_path, kind="best")[1]
    for later, kept in ((24.0, 8), (22.0, 10)):
        monkeypatch.setitem(seen, 8, later)
        again = new_fit(scene, tmp_path, *words, steps=10)
        again.load_state_dict(best)
        again.train()
        assert checkpoints.steps(tmp_path, "best") == [kept]
    new_fit(scene, tmp_path, steps=2).train()
    with pytest.raises(CheckpointError, match=r"best_\*\.pt\. trainer\.keep_best=true keeps one in training"):
        checkpoints.load_latest(tmp_path, kind="best")


def test_the_ray_count_follows_the_sample_budget(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path)
    taken = [fit.step().samples for _ in range(12)]
    assert all(1500 < samples < 2700 for samples in taken[4:]), taken


def test_there_are_never_more_rays_than_allowed(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path, "trainer.max_rays=50")
    assert [fit.step().rays for _ in range(3)] == [50, 50, 50]


def test_half_a_step_is_never_saved(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C comes at once: after the weights of step 5 moved and before their average did."""
    fit = new_fit(scene, tmp_path, "trainer.checkpoint_every=0")
    update = RunningAverage.update

    def interrupted(self: RunningAverage, step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt
        update(self, step)

    monkeypatch.setattr(RunningAverage, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit.train()
    assert checkpoints.steps(tmp_path) == [5, 4]


def test_ctrl_c_waits_for_the_end_of_the_step(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = new_fit(scene, tmp_path / "whole"), new_fit(scene, tmp_path / "part")
    for _ in range(6):
        whole.step()
    update = RunningAverage.update

    def pressed(self: RunningAverage, step: int) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        update(self, step)

    monkeypatch.setattr(RunningAverage, "update", pressed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            part.train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoints.steps(tmp_path / "part") == [6]
    assert torch.equal(weights(part), weights(whole))


def test_pieces_of_a_step_do_not_pile_up_in_memory(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path)
    alive: weakref.WeakSet = weakref.WeakSet()
    original = fit.rays.losses

    def watched(rays: TrainingRays, first: int, step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, int]:
        assert not alive
        found = original(rays, first, step)
        alive.update(found[0].values())
        return found

    fit.rays.losses = watched  # type: ignore[method-assign]
    fit.model.sampler.rays_at_once = lambda count, device: 256
    assert fit.step().rays == 1024


def test_a_loss_that_is_not_finite_names_its_term_and_the_checkpoint(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path)
    fit.step()
    fit.save()
    with torch.no_grad():
        fit.model.field.color.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match=r"step 1: .*term: color.*last good checkpoint is step 1"):
        fit.train()


def spoil_gradient(fit: FieldFit, name: str) -> None:
    dict(fit.model.field.named_parameters())[name].register_hook(lambda g: torch.full_like(g, math.inf))


def test_a_gradient_that_is_not_finite_is_named(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path)
    for _ in range(2):
        fit.step()
    before = weights(fit)
    spoil_gradient(fit, "hidden.1.bias")
    with pytest.raises(
        FloatingPointError, match=r"step 2: the gradient of field\.hidden\.1\.bias .*checkpoint is step 2"
    ):
        fit.train()
    assert torch.equal(weights(fit), before)
    assert checkpoints.steps(tmp_path) == [2]


def test_the_photo_s_pixel_that_spoils_a_step_is_named(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path, steps=6)
    for _ in range(3):
        fit.step()
    before, draw, spoiled = weights(fit), fit.rays.pixels.draw, 41

    def with_nan(seed: int, step: int, count: int, cameras: Cameras | None = None) -> TrainingRays:
        rays = draw(seed, step, count, cameras=cameras)
        if step == 3:
            rays.rgba[spoiled, 1] = math.nan
        return rays

    fit.rays.pixels.draw = with_nan  # type: ignore[method-assign]
    rays = draw(fit.seed, 3, 512)
    view = int(rays.view[spoiled])
    pixel = int((scene.cameras.image_rays(view)[1] @ rays.directions[spoiled]).argmax())
    y, x = divmod(pixel, scene.cameras.sizes[view][1])
    named = rf"step 3: .*term: color.*\(rays: photo {view}_rgb\.png at x {x}, y {y}\); .*checkpoint is step 3 in"
    with pytest.raises(NotFiniteError, match=named):
        fit.train()
    assert torch.equal(weights(fit), before)
    again = new_fit(scene, tmp_path, steps=6)
    again.load_state_dict(checkpoints.load_latest(tmp_path)[1])
    assert torch.equal(weights(again), before) and again.progress.step == 3


def test_bad_steps_are_skipped_as_many_as_may_be(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path, "trainer.skip_bad_steps=2", "field.fused=false")
    fit.step()
    before = weights(fit)
    parameter = dict(fit.model.field.named_parameters())["hidden.1.bias"]
    for _ in range(2):
        bad = parameter.register_hook(lambda g: torch.full_like(g, math.nan))
        fit.step()
        bad.remove()
    assert torch.equal(weights(fit), before) and fit.progress.skipped == 2
    noted = r"the gradient of field\.hidden\.1\.bias is not finite \(rays: photo [^)]+\); skipped"
    assert len(re.findall(noted, (tmp_path / "log.txt").read_text())) == 2
    fit.step()
    assert not torch.equal(weights(fit), before) and weights(fit).isfinite().all()
    fit.save()
    again = new_fit(scene, tmp_path, "trainer.skip_bad_steps=2", "field.fused=false")
    again.load_state_dict(checkpoints.load_latest(tmp_path)[1])
    spoil_gradient(again, "hidden.1.bias")
    with pytest.raises(FloatingPointError, match="step 4: the gradient of"):  # those skipped before count, too
        again.step()


def test_a_device_that_is_not_waited_for_keeps_its_weights(scene: Scene, tmp_path: Path) -> None:
    """As on a GPU: the host goes on, the device does not, and the first failure is the one that is named."""
    fit = new_fit(scene, tmp_path, "trainer.log_every=7")
    fit.waits = False
    for _ in range(3):
        fit.step()
    good = {name: p.detach().clone() for name, p in fit.model.field.named_parameters()}
    spoil_gradient(fit, "density_head.weight")
    fit.step()
    spoil_gradient(fit, "color.bias")
    for _ in range(3):
        fit.step()
    assert fit.progress.step == 7
    for name, parameter in fit.model.field.named_parameters():
        assert torch.equal(parameter, good[name])
    assert all(int(state["step"]) == 3 for state in fit.optimizer.state.values())
    with pytest.raises(FloatingPointError, match=r"^step 3: the gradient of field\.density_head\.weight is not"):
        fit.save()
    with pytest.raises(FloatingPointError, match=r"step 3: .*rays: photo .*last good checkpoint is step 3"):
        fit.train()
    assert checkpoints.steps(tmp_path) == [3]
    kept = checkpoints.load_latest(tmp_path)[1]["model"]
    assert all(torch.equal(kept[f"field.{name}"], value) for name, value in good.items())


def test_a_step_with_too_little_memory_is_taken_in_smaller_pieces(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_halved", {})
    whole, short = new_fit(scene, tmp_path / "a"), new_fit(scene, tmp_path / "b")
    losses = short.rays.losses

    def limited(rays: TrainingRays, first: int, step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, int]:
        if len(rays.rgba) > 300 or (step == 1 and first > 0 and len(rays.rgba) > 150):  # the second after a gradient
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses(rays, first, step)

    short.rays.losses = limited  # type: ignore[method-assign]
    for _ in range(2):
        one, other = whole.step(), short.step()
        assert one.samples == other.samples and one.rays == other.rays
    torch.testing.assert_close(weights(short), weights(whole), rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(memory, "_halved", {})
    assert short.rays.to_blame(2, short.progress.rays) == ""  # it goes through the rays in pieces, too
    short.rays.losses = out_of_memory  # type: ignore[method-assign, assignment]
    with pytest.raises(ConfigError, match=r"rays of a training step at once\. trainer\.samples=2048: expected fewer"):
        short.step()


def out_of_memory(*_: object) -> None:
    raise MemoryError


def test_looking_for_what_is_not_finite_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    watched, plain = new_fit(scene, tmp_path / "a"), new_fit(scene, tmp_path / "b")
    plain.optimizer.found_inf = None
    for fit in (watched, plain):
        for _ in range(5):
            fit.step()
    assert torch.equal(weights(watched), weights(plain))


@pytest.mark.parametrize(("part", "name"), [("average", "field.color.bias"), ("optimizer", "exp_avg")])
def test_nan_in_a_checkpoint(scene: Scene, tmp_path: Path, part: str, name: str) -> None:
    fit = new_fit(scene, tmp_path)
    fit.step()
    fit.save()
    state = checkpoints.load_latest(tmp_path)[1]
    inner = state[part] if part == "average" else state[part]["state"][0]
    inner[name].view(-1)[0] = math.nan
    other = new_fit(scene, tmp_path)
    before = weights(other)
    with pytest.raises(CheckpointError, match=rf"{part}\..*{name} of its newest checkpoint is not finite"):
        other.load_state_dict(state)
    assert torch.equal(weights(other), before)


def test_logged_values(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path)
    rays = fit.rays.pixels.draw(fit.seed, 0, fit.progress.rays)
    terms, squared, samples = fit.rays.losses(rays, 0, 0)
    logged = fit.step().logged()
    assert logged["loss/color"] == terms["color"].item() and logged["loss/silhouette"] == terms["silhouette"].item()
    whole = fit.rays.pixels.share * squared.item() / (3 * len(rays.rgba))  # the rest is empty, and rendered so
    assert 0.3 < fit.rays.pixels.share < 1 and fit.rays.pixels.outside == 0
    assert logged["train/psnr"] == pytest.approx(-10 * math.log10(whole), abs=1e-4)
    assert logged["train/samples"] == samples and logged["train/rays"] == len(rays.rgba)


def test_checkpoint_of_another_field_is_refused(scene: Scene, tmp_path: Path) -> None:
    new_fit(scene, tmp_path).save()
    other = new_fit(scene, tmp_path, "field.width=8")
    with pytest.raises(CheckpointError, match="does not fit the config"):
        other.load_state_dict(checkpoints.load_latest(tmp_path)[1])


def test_no_budget_is_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.max_steps=null: .*trainer\.max_seconds"):
        new_fit(scene, tmp_path, "trainer.max_steps=null")


@pytest.mark.parametrize(
    "word",
    [
        *("field.activation=gelu", "field.width=0", "sampler.step_size=0.0", "sampler.min_transmittance=0.0"),
        *("trainer.decay=linear", "trainer.log_every=0", "sampler.share=0"),
    ],
)
def test_bad_values_are_refused(scene: Scene, tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigError, match=word.split("=")[0]):
        new_fit(scene, tmp_path, word)


def test_tutorial_recipe(scene: Scene, tmp_path: Path) -> None:
    """A few steps of the tutorial's own sizes per ray, with few rays; cutting a step into pieces does not change it."""
    words = ["scene=kaolin", "experiment=nerf_tutorial", "trainer.rays=24", "trainer.max_steps=4", "field.width=32"]
    config = compose("train", words)
    assert (config.field.octaves, config.sampler.count, config.trainer.views_per_step) == (60, 128, 6)
    results = []
    for at_once in (1 << 17, 5 * 128):
        folder = tmp_path / str(at_once)
        folder.mkdir()
        fit = build(config, scene, Run(folder), torch.device("cpu"))
        fit.model.sampler.rays_at_once = lambda count, device, n=at_once: n // 128
        logged = [fit.step() for _ in range(4)]
        assert all(row.samples == 24 * 128 for row in logged)
        results.append(weights(fit))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-5)


def test_tutorial_learning_rate_drops_at_three_quarters(scene: Scene, tmp_path: Path) -> None:
    fit = new_fit(scene, tmp_path, "trainer.decay=step", "trainer.warmup=0", "trainer.learning_rate=0.001", steps=100)
    rates = [fit.learning_rate(share) for share in (0.0, 0.74, 0.75, 0.99)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_pseudo_huber_is_squared_then_linear() -> None:
    small, large = torch.tensor([1e-3]), torch.tensor([50.0])
    assert pseudo_huber(small, 0.1).item() == pytest.approx(1e-6 / 0.2, rel=1e-2)
    assert pseudo_huber(large, 0.1).item() == pytest.approx(50.0 - 0.1, rel=1e-3)
