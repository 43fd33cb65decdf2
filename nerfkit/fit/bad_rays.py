"""Which rays made a step not finite: looked for after it, by going through its rays again, half by half."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.pixels import TrainingRays
from nerfkit.scenes.scene import Scene

NAMED = 3  # rays at most


def bad_rays(
    rays: TrainingRays,
    losses: Callable[[TrainingRays, int], dict[str, Tensor]],
    parameters: Iterable[Tensor],
    at_once: int,
) -> list[int]:
    """The first ``NAMED`` of R rays whose loss, or else whose gradient, is NaN or infinite.

    Args:
        rays: of the step.
        losses: terms () of the loss over some of them, and the number of the first.
        parameters: by which the gradient is taken.
        at_once: rays that fit in memory together.

    Returns:
        their numbers in [0, R); none where no ray is to blame, or none alone.
    """
    weights = [p for p in parameters if p.requires_grad]

    def terms(first: int, last: int) -> Tensor:
        return torch.stack(list(losses(TrainingRays(*(t[first:last] for t in rays)), first).values()))

    def loss_fails(first: int, last: int) -> bool:
        with torch.no_grad():
            return not bool(terms(first, last).isfinite().all())

    def gradient_fails(first: int, last: int) -> bool:
        loss = terms(first, last).sum()
        found = torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else ()
        return not all(bool(gradient.isfinite().all()) for gradient in found if gradient is not None)

    pieces = [(first, min(first + at_once, len(rays.rgba))) for first in range(0, len(rays.rgba), at_once)]
    for fails in (loss_fails, gradient_fails):
        found: list[int] = []
        for piece in pieces:
            _narrow(fails, *piece, found)
        if found:
            return found
    return []


def _narrow(fails: Callable[[int, int], bool], first: int, last: int, found: list[int]) -> None:
    """Adds those of the rays ``first`` to ``last - 1`` that fail alone to ``found``, until it is full."""
    if len(found) >= NAMED or not fails(first, last):
        return
    if last - first == 1:
        found.append(first)
        return
    middle = (first + last) // 2
    _narrow(fails, first, middle, found)
    _narrow(fails, middle, last, found)


@torch.no_grad()
def pixels_named(scene: Scene, cameras: Cameras, rays: TrainingRays, numbers: list[int]) -> str:
    """The photos and pixels that some rays look through, in words; empty where there are none."""
    places = []
    for number in numbers:
        view = int(rays.view[number])
        point = (rays.origins[number] + rays.directions[number]).to(cameras.camera_to_world)
        x, y = cameras[view].project(point[None])[0][0, 0].floor().long().tolist()
        places.append((view, x, y))
    return in_words(scene, places)


def in_words(scene: Scene, places: Sequence[tuple[int, int, int]]) -> str:
    """Pixels of views, (view, x, y) each, as ``rays: photo 1.png at x 12, y 40; ...``; empty where there are none."""
    named = [f"photo {scene.photo_name(view)} at x {x}, y {y}" for view, x, y in places]
    return f"rays: {'; '.join(named)}" if named else ""
