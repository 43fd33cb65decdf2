"""A refinement that folds over or gets lost is taken back; one that is not finite keeps its last good state."""

import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_guard import WINDOW, Guard
from nerfkit.fit.refine_measure import evaluate_mesh
from nerfkit.fit.refine_phases import Phase
from nerfkit.fit.watch import NotFiniteError, not_finite
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs import checkpoints
from nerfkit.scenes.scene import Scene
from tests.fit.test_refine import Recorder, ball, options, scene as scene

BALL = ball((0.8, 0.5, 0.6))


def crumpled(vertices: torch.Tensor) -> torch.Tensor:
    """Every vertex somewhere near its place: faces look anywhere, and there is no room for them."""
    return vertices + 0.15 * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0))


def mirrored(vertices: torch.Tensor) -> torch.Tensor:
    """One half of the ball pushed through the other."""
    return torch.stack([vertices[:, 0].abs(), *vertices[:, 1:].unbind(1)], 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v, None),
        (lambda v: 1.1 * v + 0.05, None),
        (lambda v: v + 0.01 * torch.sin(20 * v.flip(1)), None),
        (lambda v: v.index_fill(0, torch.tensor([3]), math.nan), "NaN or infinite"),
        (lambda v: 2 * v, "area has become 4 times"),
        (lambda v: 0.4 * v, "area has become 0.16 times"),
        (lambda v: -v, "volume has changed"),
        (mirrored, "volume has changed"),
        (lambda v: v * torch.tensor([1.0, 1.0, 0.1]), "volume has changed"),
        (crumpled, "area has become"),
    ],
)
def test_what_a_surface_may_become(change: Any, said: str | None) -> None:
    found = Guard(BALL).trouble(change(BALL.vertices), BALL.faces, BALL.vertices)
    assert found is None if said is None else found is not None and said in found


def test_faces_that_are_turned_over() -> None:
    """A flat sheet folded like a letter: its area is as it was, there is no volume, and half of it looks down."""
    i, j = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
    flat = torch.stack([i, j, torch.zeros_like(i)], -1).view(-1, 3) / 8
    corner = (9 * i + j)[:-1, :-1].flatten()
    faces = torch.stack([corner, corner + 9, corner + 1, corner + 1, corner + 9, corner + 10], -1).view(-1, 3)
    folded = torch.stack([0.5 - (flat[:, 0] - 0.5).abs(), *flat[:, 1:].unbind(1)], 1)
    guard = Guard(Mesh(flat, faces))
    assert guard.trouble(flat, faces, flat) is None
    assert guard.trouble(folded, faces, flat) == "50% of its surface are turned over"


def test_a_loss_that_is_worse_than_at_the_start() -> None:
    guard = Guard(BALL)
    for _ in range(2 * WINDOW):
        guard.note({"image": 0.1, "mask": 0.1, "texture": 9.0})
    here = BALL.vertices, BALL.faces, BALL.vertices
    assert guard.trouble(*here) is None
    again = Guard(BALL)
    again.load_state_dict(guard.state_dict())
    for image, worse in ((0.24, False), (0.3, True)):
        for _ in range(WINDOW):
            again.note({"image": image, "mask": 0.1})
        assert (again.trouble(*here) is not None) == worse
    assert again.trouble(*here) == "its pictures have become worse, from a loss of 0.2 to 0.4"


def test_an_absurd_rate_is_taken_back_and_said_once(scene: Scene, tmp_path: Path) -> None:
    start = ball((0.7, 0.55, 0.65), 2)
    said: list[str] = []
    run = Recorder(tmp_path)
    run.log = said.append  # type: ignore[method-assign]
    lost: list[dict[str, Any]] = []
    absurd = options(steps=60, vertex_rate=3.0)
    refined = refine_mesh(start, scene, absurd, run, taken_back=lost.extend)  # type: ignore[arg-type]
    assert lost and all(entry["step"] <= 60 and entry["why"] for entry in lost)
    assert sum("warning: refine:" in line for line in said) == 1
    before, after = (evaluate_mesh(mesh, scene, scene.test) for mesh in (start, refined))
    assert after["mask_iou"] > before["mask_iou"] - 0.01 and after["psnr"] > before["psnr"]
    assert len(self_intersections(refined)) < 0.1 * len(refined.faces)


def test_a_usual_rate_is_left_alone(scene: Scene) -> None:
    lost: list[dict[str, Any]] = []
    refine_mesh(ball((0.7, 0.55, 0.65), 2), scene, options(steps=30), taken_back=lost.extend)
    assert lost == []


def test_a_gradient_that_is_not_finite_keeps_the_last_good_state(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = Phase.losses, [0]

    def spoiled(phase: Phase, views: list[int]) -> dict[str, torch.Tensor]:
        steps[0] += 1
        terms = whole(phase, views)
        if steps[0] == 4:
            phase.vertices.grad[5] = math.nan  # type: ignore[index]
        return terms

    monkeypatch.setattr(Phase, "losses", spoiled)
    run = Recorder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "refine_00000007.pt").touch()  # of an earlier start, and damaged
    with pytest.raises(NotFiniteError) as caught:
        refine_mesh(ball((0.7, 0.55, 0.65), 2), scene, options(steps=8), run)  # type: ignore[arg-type]
    said = str(caught.value)
    assert said.startswith("refine: step 3: the gradient of the vertices is not finite (photos number ")
    assert f"the last good state, step 3, is in {tmp_path / 'checkpoints'}" in said
    assert checkpoints.steps(tmp_path, "refine") == [3]
    step, state = checkpoints.load_latest(tmp_path, kind="refine")
    assert step == 3 and not any(not_finite(state["phase"]))


def stopped_at(step: int, scene: Scene, run: Recorder, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """A refinement of 20 steps, looked at after every second one: ``change`` meets its phase after ``step`` of them."""
    whole, count = Phase.step, [0]

    def stopping(phase: Phase, rate: float) -> dict[str, float]:
        terms = whole(phase, rate)
        count[0] += 1
        if count[0] == step:
            change(phase)
            signal.raise_signal(signal.SIGINT)
        return terms

    monkeypatch.setattr(Phase, "step", stopping)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            refine_mesh(ball((0.7, 0.55, 0.65), 2), scene, options(steps=20), run)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(Phase, "step", whole)


def test_what_goes_on_in_trouble_is_taken_back_to_the_good_state_of_before(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swell(phase: Phase) -> None:
        phase.vertices.data.mul_(3)

    run = Recorder(tmp_path)
    said: list[str] = []
    run.log = said.append  # type: ignore[method-assign]
    stopped_at(5, scene, run, monkeypatch, swell)
    step, state = checkpoints.load_latest(tmp_path, kind="refine")
    assert step == 5 and state["good"]["step"] == 4
    refine_mesh(ball((0.7, 0.55, 0.65), 2), scene, options(steps=20), run)  # type: ignore[arg-type]
    (line,) = (line for line in said if "warning: refine:" in line)
    assert "after 6 steps; back to what it was after 4," in line


def test_what_is_not_finite_is_neither_saved_nor_taken_for_good(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(phase: Phase) -> None:
        phase.colors.data[0] = math.nan

    run = Recorder(tmp_path)
    stopped_at(5, scene, run, monkeypatch, spoil)
    assert checkpoints.steps(tmp_path, "refine") == []
    said: list[str] = []
    run.log = said.append  # type: ignore[method-assign]
    stopped_at(6, scene, run, monkeypatch, spoil)
    assert any("phase.colors is not finite after 6 steps" in line for line in said)
    step, state = checkpoints.load_latest(tmp_path, kind="refine")
    assert step == 6 and not any(not_finite(state))
