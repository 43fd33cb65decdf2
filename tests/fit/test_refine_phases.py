"""What each step of refinement does at its share of the budget: rates, changes of faces and of phase, moments kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfkit.fit import refine, refine_phases
from nerfkit.fit.adam import Adam
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.refine_phases import Colored
from nerfkit.fit.refine_targets import Look, Ratio, Targets, Wanted
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.remeshing.remesh import Remeshed
from tests.fit.test_refine import ball, options
from tests.fit.test_refine_math import scene

START = ball((0.5, 0.5, 0.5), 1)


@dataclass
class Followed:
    """A refinement, step by step.

    Attributes:
        vertex_rates, color_rates: what its optimizers were given.
        before, after: (V,6) moments of the vertices around each step.
        units: of the errors of depth.
        meshes: after each step.
        refined: the result.
    """

    vertex_rates: list[float] = field(default_factory=list)
    color_rates: list[float] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)
    after: list[Tensor] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    refined: Mesh = START


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Followed]:
    """``follow(shares, OPTION=...)``; all that these tests know of how refinement is put together stands here."""

    def followed(shares: list[float], **changes: float) -> Followed:
        found = Followed()
        step, color_step, terms = LargeSteps.step, Adam.step, Wanted.terms

        def watched_step(optimizer: LargeSteps, rate: float) -> None:
            found.vertex_rates.append(rate)
            found.before.append(optimizer.moments())
            step(optimizer, rate)
            found.after.append(optimizer.moments())

        def watched_color_step(optimizer: Adam) -> None:
            found.color_rates.append(optimizer.param_groups[0]["lr"])
            color_step(optimizer)

        def watched_terms(wanted: Wanted, rendering: Any, look: Look, unit: float, share: float) -> dict[str, Ratio]:
            found.units.append(unit)
            return terms(wanted, rendering, look, unit, share)

        def loop(title: str, step: Callable[[float], Any], *, callbacks: list[Any], **rest: Any) -> None:
            for number, share in enumerate(shares):
                step(share)
                callbacks[1].call(number)  # the first one looks whether the refinement is lost

        monkeypatch.setattr(LargeSteps, "step", watched_step)
        monkeypatch.setattr(Adam, "step", watched_color_step)
        monkeypatch.setattr(Wanted, "terms", watched_terms)
        monkeypatch.setattr(refine, "optimize", loop)
        callbacks = [(found.meshes.append, 1.0)]
        found.refined = refine.refine_mesh(START, scene(), options(texture=32, **changes), callbacks=callbacks)
        return found

    return followed


def test_both_rates_fall_to_their_last_share(follow: Callable[..., Followed]) -> None:
    for geometry in (0.0, 0.7, 1.0):
        rates = {"vertex_rate": 0.002, "texture_rate": 0.03, "final_rate": 0.04}
        found = follow([0.0, 0.5, 1.0], geometry=geometry, **rates)
        assert found.vertex_rates == pytest.approx([0.002, 0.002 * 0.2, 0.002 * 0.04])
        assert found.color_rates == pytest.approx([0.03, 0.03 * 0.2, 0.03 * 0.04])


def test_faces_and_phase_change_at_their_shares(
    follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Geometry until 0.5, in which faces change twice: at once and half way; then a texture."""
    monkeypatch.setattr(refine_phases, "adapt", doubled)
    monkeypatch.setattr(refine.Guard, "trouble", lambda *_: None)  # twice the surface is too much for it
    found = follow([0.0, 0.24, 0.25, 0.26, 0.49, 0.5, 1.0], geometry=0.5, remesh=2)
    assert [mesh.texture is not None for mesh in found.meshes] == [False] * 5 + [True] * 2
    assert [mesh.colors is not None for mesh in found.meshes] == [True] * 5 + [False] * 2
    assert [len(mesh.faces) for mesh in found.meshes] == [160, 160, *[320] * 5]
    assert found.refined.texture is not None and found.refined.colors is None


def test_a_budget_that_ends_early_still_gets_its_texture(follow: Callable[..., Followed]) -> None:
    found = follow([0.0], geometry=0.5)
    assert found.meshes[0].texture is None and found.refined.texture is not None


def test_the_second_phase_goes_on_with_moments_and_unit(follow: Callable[..., Followed]) -> None:
    found = follow([0.0, 0.4, 0.5, 0.9], geometry=0.5, vertex_rate=0.02)
    assert not found.before[0].any() and found.after[0].any()
    for before, after in zip(found.before[1:], found.after[:-1], strict=True):
        assert torch.equal(before, after)
    corners = START.vertices[START.faces]
    edge = (corners - corners.roll(1, 1)).norm(dim=-1).mean().item()  # each edge belongs to two faces
    assert found.units == pytest.approx([edge] * 4)


@pytest.mark.parametrize("geometry", [0.0, 1.0])
def test_colors_stay_between_black_and_white(follow: Callable[..., Followed], geometry: float) -> None:
    last = follow([0.0, 0.1], geometry=geometry, texture_rate=3.0).meshes[-1]
    colors = last.colors if last.texture is None else last.texture
    assert colors is not None
    assert colors.min() == 0 and colors.max() == 1, "steps of 3 reach both ends"


@pytest.mark.parametrize("geometry", [0.0, 1.0])
def test_the_result_does_not_run_through_itself(follow: Callable[..., Followed], geometry: float) -> None:
    found = follow([0.0] * 4, geometry=geometry, vertex_rate=0.5, smoothness=0.05)
    assert len(self_intersections(found.meshes[-1])) > 0 == len(self_intersections(START))
    assert len(self_intersections(found.refined)) == 0


def doubled(
    vertices: Tensor, faces: Tensor, wanted: int, error: Tensor | None = None, attributes: Tensor | None = None
) -> Remeshed:
    """In place of ``adapt``: a second copy of the mesh, well away from it."""
    assert attributes is not None
    count = len(vertices)
    source = torch.arange(count).repeat(2)
    beside = vertices + torch.tensor([0.0, 0.0, float(count)])
    corners = torch.cat([faces, faces + count])
    return Remeshed(torch.cat([vertices, beside]), corners, torch.ones(2 * count), attributes[source], source)


def test_without_a_rate_no_vertex_has_an_optimizer(
    follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its factorization is what costs; faces and phase change, and states are saved and loaded, without it."""
    monkeypatch.setattr(refine_phases, "LargeSteps", None)
    found = follow([0.0, 0.2, 0.5, 0.9], geometry=0.5, remesh=1, vertex_rate=0.0)
    assert found.refined.texture is not None and not found.vertex_rates
    still = options(vertex_rate=0.0)
    one, two = (Colored(START, Targets(scene(), still, 0), still, "contour") for _ in range(2))
    one.step(1.0)
    one.remesh(160)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.mesh().vertices, two.mesh().vertices) and torch.equal(one.colors, two.colors)
    assert still.rates == "refine.texture_rate" and "refine.vertex_rate" in options().rates


def test_new_faces_carry_colors_and_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """With twice the vertices the gradient at each is half as large: m is halved there and v quartered."""
    monkeypatch.setattr(refine_phases, "adapt", doubled)
    phase = Colored(START, Targets(scene(), options(), 0), options(), "contour")
    for _ in range(2):
        phase.step(1.0)
    old, colors, moments = (
        phase.color_optimizer.state[phase.colors],
        phase.mesh().colors,
        phase.vertex_optimizer.moments(),
    )
    phase.remesh(160)
    new = phase.color_optimizer.state[phase.colors]
    assert colors is not None and torch.equal(phase.mesh().faces[:80], START.faces)
    torch.testing.assert_close(phase.mesh().colors, colors.repeat(2, 1))
    for key in ("exp_avg", "exp_avg_sq"):
        assert old[key].any()
        torch.testing.assert_close(new[key], old[key].repeat(2, 1))
    assert new["step"] == 2
    torch.testing.assert_close(
        phase.vertex_optimizer.moments(), torch.cat([moments[:, :3] / 2, moments[:, 3:] / 4], 1).repeat(2, 1)
    )
