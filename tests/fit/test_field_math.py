"""The field stage's arithmetic in closed form: the loss, the running mean, the learning rate, a step's direction."""

import math
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from nerfkit.cameras import Cameras, look_at
from nerfkit.fields.field import Field
from nerfkit.fit.average import RunningAverage
from nerfkit.fit.field import FieldFit
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.pixels import TrainingRays
from nerfkit.kernels import philox
from nerfkit.kernels.pixel_loss import pseudo_huber
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.occupancy import OccupancyGrid
from nerfkit.volume.samplers import OccupancyOptions, Sampler, StratifiedSampler

SIDE, COUNT, HUBER = 8, 4, 0.3
BACKGROUND = (0.2, 0.6, 1.0)


class Fog(Field):
    """Of one density and one color everywhere: through ``COUNT`` samples its opacity is 1 - exp(-COUNT density)."""

    def __init__(self, density: float = 0.25) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor([density]))
        self.paint = nn.Parameter(torch.tensor([0.8, 0.4, 0.1]))
        self.asked: list[int] = []

    def density(self, positions: Tensor) -> Tensor:
        return self.level.expand(len(positions))

    def forward(self, positions: Tensor, offsets: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(len(positions))
        return self.density(positions), self.paint.expand(len(positions), 3)


def scene(**changes: object) -> Scene:
    """Two training views and one held out, of any pixels; premultiplied, so that no color exceeds its alpha."""
    poses = look_at(torch.eye(3) * 3 + 0.1, torch.zeros(3), torch.tensor([0.3, 1.0, 0.2]))
    cameras = Cameras(poses, torch.tensor([[10.0, 10.0, 4.0, 4.0]]).repeat(3, 1), SIDE, SIDE)
    alpha = torch.randint(0, 256, (3, SIDE, SIDE, 1), generator=torch.Generator().manual_seed(1))
    images = (alpha * torch.tensor([0.7, 0.2, 0.5, 1.0])).to(torch.uint8)
    facts = {"name": "fog", "images": Photos.of(images), "cameras": cameras, "train": [1, 2], "test": [0]}
    return Scene(**(facts | changes))  # type: ignore[arg-type]


class Stage:
    """The field stage on such a fog. All that these tests know of how it is put together stands here."""

    def __init__(self, *words: str, density: float = 0.25, sampler: Sampler | None = None, **changes: object) -> None:
        options: dict[str, Any] = {"max_steps": 1000, "warmup": 0, "huber": HUBER}
        for word in words:
            key, value = word.split("=")
            options[key] = yaml.safe_load(value)
        self.field = Fog(density)
        model = RadianceModel(self.field, sampler or StratifiedSampler(1.0, 3.0, COUNT))
        whole = scene(**({"background": BACKGROUND} | changes))
        self.fit = FieldFit(model, whole, TrainerOptions(**options))

    @property
    def average(self) -> Fog:
        fog = self.fit.average.field
        assert isinstance(fog, Fog)
        return fog

    def losses(self, rgba: Tensor, first: int, step: int) -> tuple[dict[str, float], float]:
        """The terms of the loss for rays that show ``rgba`` (R,4), and their squared error."""
        directions = torch.tensor([[0.0, 0.0, -1.0]]).repeat(len(rgba), 1)
        terms, squared, _ = self.fit.rays.losses(
            TrainingRays(-3 * directions, directions, rgba, torch.zeros(len(rgba)).long()), first, step
        )
        return {name: term.item() for name, term in terms.items()}, squared.item()

    def learning_rate(self, step: int, seconds: float = 0.0) -> float:
        self.fit.progress.step, self.fit.progress.seconds = step, seconds
        return self.fit.learning_rate(self.fit.progress.share(self.fit.options.max_steps, self.fit.options.max_seconds))

    def averaged(self, levels: list[float]) -> float:
        """The running mean of the density after steps that left it at ``levels``."""
        average = RunningAverage(self.fit.model, self.fit.options.ema)
        for step, level in enumerate(levels):
            self.field.level.data.fill_(level)
            average.update(step)
        return average.model.field.level.item()  # type: ignore[union-attr,operator]

    def step(self) -> float:
        """One whole step; the learning rate that the optimizer took."""
        self.fit.step()
        return self.fit.optimizer.param_groups[0]["lr"]

    def rays_of_steps(self, count: int) -> list[int]:
        return [self.fit.step().rays for _ in range(count)]

    def step_and_its_rays(self, rays: int) -> list[tuple[dict[str, Tensor], Tensor, Tensor]]:
        """Terms, squared error and the color's gradient of a step, and of the loss over all of its rays at once."""
        terms, squared, _ = self.fit.rays.losses(self.fit.rays.pixels.draw(0, 0, rays), 0, 0)
        (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), self.field.paint)
        step = self.fit.step()
        assert step.rays == rays and self.field.paint.grad is not None
        return [(terms, squared, gradient), (step.terms, step.squared, self.field.paint.grad)]


def huber_by_hand(errors: Tensor, scale: float = HUBER) -> float:
    values = [scale * (math.sqrt(1 + (e / scale) ** 2) - 1) for e in errors.flatten().tolist()]
    return sum(values) / len(values)


def pictured(rays: int) -> Tensor:
    rgba = torch.rand(rays, 4, generator=torch.Generator().manual_seed(2))
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], -1)


def test_pseudo_huber_in_closed_form() -> None:
    # 3, 4, 5 and 5, 12, 13: sqrt(1 + (3/4)^2) = 5/4 and sqrt(1 + (12/5)^2) = 13/5
    assert pseudo_huber(torch.tensor([0.75]), 1.0).item() == pytest.approx(0.25)
    assert pseudo_huber(torch.tensor([-1.2, 1.2]), 0.5).item() == pytest.approx(0.5 * 1.6)
    assert pseudo_huber(torch.tensor([0.75, 0.0, 0.0, 0.0]), 1.0).item() == pytest.approx(0.25 / 4)
    error = torch.tensor([0.3, -0.4], dtype=torch.float64).requires_grad_()
    pseudo_huber(error, 0.4).backward()
    assert error.grad is not None  # d/de = e / sqrt(1 + (e / scale)^2) / scale, over the number of errors
    assert error.grad.tolist() == pytest.approx([0.3 / 1.25 / 0.4 / 2, -0.4 / math.sqrt(2) / 0.4 / 2])


@pytest.mark.parametrize("random", [True, False])
def test_both_pictures_lie_over_the_same_background(random: bool) -> None:
    stage = Stage(f"random_background={str(random).lower()}", "mask_weight=0.5")
    rgba, first, step = pictured(5), 7, 3
    terms, squared = stage.losses(rgba, first, step)
    opacity = 1 - math.exp(-COUNT * 0.25)
    behind = torch.tensor(BACKGROUND).expand(5, 3)
    if random:
        behind = philox.uniform(philox.Draw(0, step, first), philox.BACKGROUND, 5, 3)
    shown = opacity * torch.tensor([0.8, 0.4, 0.1]) + (1 - opacity) * behind
    true = rgba[:, :3] + (1 - rgba[:, 3:]) * behind
    assert set(terms) == {"color", "silhouette"}
    assert terms["color"] == pytest.approx(huber_by_hand(shown - true), rel=1e-5)
    assert terms["silhouette"] == pytest.approx(0.5 * huber_by_hand(rgba[:, 3] - opacity), rel=1e-5)
    assert squared == pytest.approx((shown - true).square().sum().item(), rel=1e-5)


@pytest.mark.parametrize(("words", "masks"), [([], False), (["mask_weight=0.0"], True)])
def test_no_silhouette_without_masks_or_weight(words: list[str], masks: bool) -> None:
    stage = Stage(*words, has_masks=masks)
    assert set(stage.losses(pictured(2), 0, 0)[0]) == {"color"}


@pytest.mark.parametrize(("density", "alpha", "sign"), [(0.25, 1.0, 1), (0.25, 0.0, -1)])
def test_a_step_goes_toward_the_photos(density: float, alpha: float, sign: int) -> None:
    """Photos full of something thicken the fog by a learning rate, which is Adam's first step; empty ones thin it."""
    images = torch.full((3, SIDE, SIDE, 4), round(255 * alpha), dtype=torch.uint8)
    stage = Stage("learning_rate=0.001", density=density, images=Photos.of(images))
    assert stage.step() == pytest.approx(0.001)
    assert stage.field.level.item() == pytest.approx(density + sign * 0.001, abs=1e-6)


def test_a_step_in_pieces_is_one_over_all_rays() -> None:
    """20 000 rays of four samples are three pieces, the last one smaller, each with backgrounds of its own."""
    stage = Stage("rays=20000")
    whole, pieces = stage.step_and_its_rays(20_000)
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)
    assert stage.field.asked == [80_000, 32_768, 32_768, 80_000 - 2 * 32_768]


def test_the_ray_count_at_most_doubles_on_its_way_to_the_sample_budget() -> None:
    assert Stage("samples=12000").rays_of_steps(4) == [1024, 2048, 3000, 3000]
    assert Stage("samples=400").rays_of_steps(3) == [1024, 100, 100]
    assert Stage("samples=8").rays_of_steps(3) == [1024, 64, 64]
    assert Stage("max_rays=1500").rays_of_steps(3) == [1024, 1500, 1500]


def test_the_grid_follows_the_field_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = []

    def update(grid: OccupancyGrid, field: Field, draw: philox.Draw, visit: int, *, prune: bool) -> None:
        updates.append((draw.step, visit, prune))

    monkeypatch.setattr(OccupancyGrid, "update", update)
    options = OccupancyOptions(resolution=8, step_size=0.1, update_every=4, warmup=9)
    Stage(sampler=options.build(scene())).rays_of_steps(14)
    assert updates == [(1, 0, False), (5, 1, False), (9, 2, True), (13, 3, True)]


def test_running_mean_of_a_known_run() -> None:
    """Of w_k = k after n steps: k/(k+10) is kept at step k, so a_n = 10/11 (n-1), until 0.99 is less, from 990 on;
    then a_n = n - 100 + (a_990 - 890) 0.99^(n-990).
    """
    stage = Stage("ema=0.99")
    assert stage.averaged([7.0]) == 7.0, "nothing of the initial weights"
    assert stage.averaged([0.0, 1.0]) == pytest.approx(10 / 11)
    assert stage.averaged([0.0, 1.0, 2.0]) == pytest.approx(20 / 11)
    expected = 900 + (10 / 11 * 989 - 890) * 0.99**10
    assert stage.averaged([float(k) for k in range(1000)]) == pytest.approx(expected)


def test_running_mean_with_a_short_memory_and_with_none() -> None:
    assert Stage("ema=0.0").averaged([3.0, 5.0, 4.0]) == 4.0
    # 0.5 is less than k/(k+10) from step 10 on; by step 40 all before is 2^-30 of it: a_n = n - 2 of w_k = k
    assert Stage("ema=0.5").averaged([float(k) for k in range(40)]) == pytest.approx(38)


def test_the_mean_takes_in_every_step_s_weights() -> None:
    stage = Stage("ema=0.99")
    stage.step()
    first = stage.field.paint.detach().clone()
    assert torch.equal(stage.average.paint, first)
    stage.step()
    second = stage.field.paint.detach()
    assert not torch.equal(first, second)
    torch.testing.assert_close(stage.average.paint.detach(), (first + 10 * second) / 11)


def test_cosine_learning_rate() -> None:
    stage = Stage("learning_rate=0.5", "final_learning_rate=0.1", "decay=cosine")
    quarter = 0.3 + 0.2 * math.sqrt(0.5)
    for step, rate in ((0, 0.5), (250, quarter), (500, 0.3), (750, 0.6 - quarter), (1000, 0.1), (1200, 0.1)):
        assert stage.learning_rate(step) == pytest.approx(rate), step


def test_stepped_learning_rate() -> None:
    stage = Stage("learning_rate=0.5", "final_learning_rate=0.1", "decay=step")
    for step, rate in ((0, 0.5), (500, 0.5), (749, 0.5), (750, 0.05), (1000, 0.05)):
        assert stage.learning_rate(step) == pytest.approx(rate), step


@pytest.mark.parametrize("decay", ["cosine", "step"])
def test_warm_up(decay: str) -> None:
    words = ["learning_rate=0.5", "final_learning_rate=0.5", f"decay={decay}"]
    stage = Stage(*words, "warmup=4")
    assert [stage.learning_rate(k) for k in range(6)] == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    assert stage.learning_rate(1) == stage.step(), "and that is what the optimizer takes"


def test_whichever_bound_comes_first() -> None:
    words = ["max_seconds=10", "learning_rate=0.5", "final_learning_rate=0.1"]
    stage = Stage(*words)
    for step, seconds, rate in ((0, 5.0, 0.3), (500, 1.0, 0.3), (0, 10.0, 0.1), (100, 5.0, 0.3)):
        assert stage.learning_rate(step, seconds) == pytest.approx(rate), (step, seconds)
