"""The loss of a training step's pixels: by hand, float64 gradients, and in Triton: see ``ladder.py``."""

import math

import pytest
import torch

from nerfkit.kernels import use
from nerfkit.kernels.pixel_loss import pixel_loss
from tests.kernels import ladder

NAMES = ("color", "silhouette", "squared", "d_color", "d_opacity")
CASES = [(1, False, 0.1), (257, False, 0.1), (3000, True, 0.7), (600, False, 0.0)]


def make(rays: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[torch.Tensor]:
    """Color, opacity, photos and a background for each ray; a few errors are exactly zero."""
    generator = torch.Generator().manual_seed(3)
    color, opacity, rgba, background = (torch.rand(rays, n, generator=generator) for n in (3, 1, 4, 3))
    color[::5], opacity[::5] = rgba[::5, :3], rgba[::5, 3:]
    return [t.to(device, dtype) for t in (color, opacity[:, 0], rgba, background)]


def results(backend: str, rays: int, expanded: bool, mask_weight: float, dtype=torch.float32, device="cpu"):
    """The three terms and both gradients of twice the first and three times the second."""
    color, opacity, rgba, background = make(rays, dtype, device)
    background = background[0].expand(rays, 3) if expanded else background
    leaves = [color.requires_grad_(), opacity.requires_grad_()]
    with use(backend):
        loss = pixel_loss(*leaves, rgba, background, 0.1, mask_weight)
    total = 2 * loss.color + (0 if loss.silhouette is None else 3 * loss.silhouette)
    grads = torch.autograd.grad(total, leaves)
    silhouette = torch.zeros_like(loss.color) if loss.silhouette is None else loss.silhouette.detach()
    return [loss.color.detach(), silhouette, loss.squared, *grads]


def test_by_hand() -> None:
    color, opacity = torch.tensor([[0.5, 0.2, 0.1]]), torch.tensor([0.5])
    rgba, background = torch.tensor([[0.4, 0.3, 0.1, 0.8]]), torch.tensor([[1.0, 0.0, 0.0]])
    loss = pixel_loss(color, opacity, rgba, background, 0.3, 2.0)
    errors = [0.1 + 0.3, -0.1, 0.0]
    by_hand = sum(0.3 * (math.sqrt(1 + (e / 0.3) ** 2) - 1) for e in errors) / 3
    assert loss.color.item() == pytest.approx(by_hand, rel=1e-5)
    assert loss.silhouette.item() == pytest.approx(2 * 0.3 * (math.sqrt(2) - 1), rel=1e-5)
    assert loss.squared.item() == pytest.approx(0.17, rel=1e-5)
    assert pixel_loss(color, opacity, rgba, background, 0.3).silhouette is None


def test_gradients() -> None:
    color, opacity, rgba, background = make(4, torch.float64)
    inputs = color.requires_grad_(), opacity.requires_grad_()
    assert torch.autograd.gradcheck(lambda c, o: pixel_loss(c, o, rgba, background, 0.1, 0.7)[:2], inputs)


def test_wrong_arguments() -> None:
    color, opacity, rgba, background = make(4)
    with pytest.raises(ValueError, match="opacity"):
        pixel_loss(color[:3], opacity, rgba, background, 0.1)
    with pytest.raises(ValueError, match="rgba"):
        pixel_loss(color, opacity, rgba[:, :3], background, 0.1)
    with pytest.raises(ValueError, match="background"):
        pixel_loss(color, opacity, rgba, background.double(), 0.1)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("rays", "expanded", "mask_weight"), CASES)
def test_cpu_agrees(rays: int, expanded: bool, mask_weight: float) -> None:
    case = rays, expanded, mask_weight
    exact, same = results("reference", *case, dtype=torch.float64), results("reference", *case)
    for name, mine, peer, double in zip(NAMES, results("cpu", *case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double, name)


@pytest.mark.interpreted
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("rays", "expanded", "mask_weight"), CASES)
def test_triton_agrees(rays: int, expanded: bool, mask_weight: float) -> None:
    case = rays, expanded, mask_weight
    exact, same = results("reference", *case, dtype=torch.float64), results("reference", *case)
    for name, mine, peer, double in zip(NAMES, results("triton", *case), same, exact, strict=True):
        ladder.assert_error_at_most_twice(mine, peer, double, name)


def test_no_rays_on_a_cpu() -> None:
    loss = pixel_loss(*[t[:0] for t in make(1)], 0.1, 0.5)
    assert loss.color.isnan() and loss.silhouette is not None and loss.silhouette.isnan() and loss.squared == 0


@pytest.mark.interpreted
def test_no_rays() -> None:
    nothing = [t[:0] for t in make(1)]
    with use("triton"):
        loss = pixel_loss(*nothing, 0.1, 0.5)
    assert loss.color.isnan() and loss.silhouette.isnan() and loss.squared == 0


POINTERS = ("color", "opacity", "rgba", "background", "terms", "by_color", "by_mask", "d_color", "d_opacity")
SIGNATURE = {f"{name}_ptr": "*fp32" for name in POINTERS} | {"sums_ptr": "*fp64"}
SIGNATURE |= dict.fromkeys(("stride", "rays", "count"), "i32")
SIGNATURE |= dict.fromkeys(("scale", "color_factor", "mask_factor"), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("target", ladder.TARGETS)
def test_triton_budgets(target: str) -> None:
    from nerfkit.kernels.pixel_loss import triton

    for name, constants in (("forward", {"RAYS": 256}), ("backward", {"RAYS": 256}), ("reduce", {"SUMS": triton.SUMS})):
        kernel, options = getattr(triton, f"{name}_kernel"), {} if name == "reduce" else triton.AS_WRITTEN
        ladder.check_budget(f"pixel_loss.{name}", target, kernel, SIGNATURE, constants, **options)


@pytest.mark.gpu
@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(("rays", "expanded", "mask_weight"), CASES)
def test_gpu(rays: int, expanded: bool, mask_weight: float) -> None:
    case = rays, expanded, mask_weight
    exact, same = results("reference", *case, dtype=torch.float64), results("reference", *case)
    found, again = results("triton", *case, device="cuda"), results("triton", *case, device="cuda")
    for name, mine, other, peer, double in zip(NAMES, found, again, same, exact, strict=True):
        assert torch.equal(mine, other), name
        ladder.assert_error_at_most_twice(mine, peer, double, name)
