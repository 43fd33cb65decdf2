"""The two phases of refinement: vertices with their colors, whose faces may change; then vertices with a texture."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.fit.adam import Adam
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_pictures import Surface, gradients, help_with
from nerfkit.fit.refine_targets import Shape, Targets
from nerfkit.fit.refine_window import Windows
from nerfkit.fit.texels import Ties, texel_looks
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.remeshing.adapt import adapt, curvature
from nerfkit.raster.visibility import Visibility, pick_visibility
from nerfkit.runs.ranks import ALONE, Ranks

BETAS = (0.5, 0.999)  # of the colors' Adam
EVEN_SHARE = 0.25  # of the mean curvature, added to it everywhere: flat parts need some faces, too


class Phase:
    """Vertices and colors on their way to the training views.

    Args:
        mesh: where they are now.
        colors: its vertex colors or its texture.
        unit: of the errors of depth; None takes the mesh's mean edge.
        optimizer: the optimizer that has moved the same vertices so far and goes on; None starts anew, where
            ``options.vertex_rate`` lets them move.
        ranks: the processes that draw the views, where a step looks at several.
        corner_uvs: of the texture; None for vertex colors.
    """

    def __init__(
        self,
        mesh: Mesh,
        colors: Tensor,
        targets: Targets,
        options: RefineOptions,
        visibility: Visibility | str,
        unit: float | None,
        optimizer: LargeSteps | None,
        ranks: Ranks,
        corner_uvs: Tensor | None = None,
    ) -> None:
        self.start, self.targets, self.options, self.visibility = mesh, targets, options, visibility
        self.ranks, self.corner_uvs = ranks if options.views_per_step > 1 else ALONE, corner_uvs
        self.windows = Windows(targets.scene, whole=not pick_visibility(visibility).local)
        self.moves = options.vertex_rate > 0
        self.vertices = mesh.vertices.clone().requires_grad_(self.moves)
        self.colors = colors.clone().requires_grad_()
        self._take(mesh.faces, mesh.vertices, unit)
        edges = self.shape.topology.edges
        self.vertex_optimizer: LargeSteps | None = None
        if optimizer is not None:
            self.vertex_optimizer = optimizer.remeshed(self.vertices, edges, optimizer.moments())
        elif self.moves:
            self.vertex_optimizer = LargeSteps(self.vertices, edges, options.smoothness)
        self.color_optimizer = Adam([self.colors], betas=BETAS)

    def _take(self, faces: Tensor, base: Tensor, unit: float | None) -> None:
        """Other faces, as they are with the vertices at ``base``."""
        self.faces, self.base, self.shape = faces, base, Shape(base, faces)
        self.unit = self.shape.edge if unit is None else unit
        self.surface = Surface(faces, self.corner_uvs, self.visibility, self.unit)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but what is made of the phase's first mesh."""
        state = {
            "faces": self.faces,
            "base": self.base,
            "vertices": self.vertices.detach(),
            "colors": self.colors.detach(),
            "unit": self.unit,
            "color_optimizer": self.color_optimizer.state_dict(),
        }
        if self.vertex_optimizer is not None:
            state["vertex_optimizer"] = self.vertex_optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state of a phase with the same first mesh."""
        self._take(state["faces"], state["base"], state["unit"])
        self.vertices = state["vertices"].clone().requires_grad_(self.moves)
        self.colors = state["colors"].clone().requires_grad_()
        if self.moves:
            self.vertex_optimizer = LargeSteps(self.vertices, self.shape.topology.edges, self.options.smoothness)
            self.vertex_optimizer.load_state_dict(state["vertex_optimizer"])
        self.color_optimizer = Adam([self.colors], betas=BETAS)
        self.color_optimizer.load_state_dict(state["color_optimizer"])

    def step(self, rate: float) -> dict[str, float]:
        """One step of both optimizers at ``rate`` times the options' rates; returns the terms of the loss.

        Nothing moves where a term is NaN or infinite.
        """
        terms = self.losses(self.targets.next_views())
        if torch.isfinite(torch.stack(list(terms.values())).sum()):
            if self.vertex_optimizer is not None:
                self.vertex_optimizer.step(self.options.vertex_rate * rate)
            self.color_optimizer.param_groups[0]["lr"] = self.options.texture_rate * rate
            self.color_optimizer.step()
            with torch.no_grad():
                self.colors.clamp_(0, 1)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, views: list[int]) -> dict[str, Tensor]:
        """The weighted terms over some views, and their gradient in ``vertices.grad`` and ``colors.grad``."""
        look = self.targets.look(views, self.windows.around(self.vertices, views))
        self.ranks.keep(wanted=self.targets.wanted, surface=self.surface)
        step = self.vertices, self.colors, self.surface, look, self.targets.wanted
        self.ranks.ask(help_with, *step)
        return gradients(*step, self.ranks, self.held)

    def held(self) -> dict[str, Tensor]:
        """What the mesh is held to besides its pictures, see ``gradients``."""
        return self.shape.terms(self.vertices, self.options) if self.moves else {}


class Colored(Phase):
    """The first phase.

    Args:
        mesh: with vertex colors.
    """

    def __init__(
        self, mesh: Mesh, targets: Targets, options: RefineOptions, visibility: Visibility | str, ranks: Ranks = ALONE
    ) -> None:
        assert mesh.colors is not None
        super().__init__(mesh, mesh.colors, targets, options, visibility, None, None, ranks)

    def mesh(self) -> Mesh:
        """The mesh as it is now, with vertex colors."""
        plain = self.start.without_appearance()
        vertices, colors = self.vertices.detach().clone(), self.colors.detach().clone()
        return replace(plain, vertices=vertices, faces=self.faces, colors=colors)

    def remesh(self, faces: int) -> None:
        """About ``faces`` faces, denser where the surface bends more; the optimizers go on with their moments."""
        vertices = self.vertices.detach()
        density = curvature(vertices, self.faces)
        density = density.clamp(max=density.quantile(0.99).item())
        density = density + EVEN_SHARE * density.mean()
        state = self.color_optimizer.state.get(self.colors, {})
        none = torch.zeros_like(self.colors)
        carried = [self.colors.detach(), state.get("exp_avg", none), state.get("exp_avg_sq", none)]
        if self.vertex_optimizer is not None:
            carried.append(self.vertex_optimizer.moments())
        result = adapt(vertices, self.faces, faces, density, torch.cat(carried, 1))
        assert result.attributes is not None
        colors, mean, square, *moved = result.attributes.split([part.shape[1] for part in carried], 1)
        self.vertices = result.vertices.clone().requires_grad_(self.moves)
        self.colors = colors.to(none).contiguous().requires_grad_()
        self._take(result.faces, result.vertices, self.unit)
        if self.vertex_optimizer is not None:
            self.vertex_optimizer = self.vertex_optimizer.remeshed(self.vertices, self.shape.topology.edges, *moved)
        self.color_optimizer = Adam([self.colors], betas=BETAS)
        if state:
            means = {"exp_avg": mean.to(none).contiguous(), "exp_avg_sq": square.to(none).contiguous()}
            self.color_optimizer.state[self.colors] = {"step": state["step"], **means}


class Textured(Phase):
    """The second phase.

    Args:
        mesh: with UVs and a texture.
        before: the first phase, which this one goes on from.
    """

    def __init__(
        self,
        mesh: Mesh,
        targets: Targets,
        options: RefineOptions,
        visibility: Visibility | str,
        ranks: Ranks = ALONE,
        before: Colored | None = None,
    ) -> None:
        assert mesh.texture is not None
        unit, optimizer = (None, None) if before is None else (before.unit, before.vertex_optimizer)
        assert mesh.corner_uvs is not None
        super().__init__(mesh, mesh.texture, targets, options, visibility, unit, optimizer, ranks, mesh.corner_uvs)
        tied = options.texture_smoothness > 0
        self.ties = Ties(mesh.corner_uvs, texel_looks(mesh, targets.scene, ranks)) if tied else None

    def mesh(self) -> Mesh:
        """The mesh as it is now, with a texture."""
        vertices, texture = self.vertices.detach().clone(), self.colors.detach().clone()
        return replace(self.start, vertices=vertices, texture=texture, colors=None)

    def held(self) -> dict[str, Tensor]:
        """And the ties of ``nerfkit.fit.texels``: as ``image``, sums over all photos, per pixel of theirs."""
        if self.ties is None:
            return super().held()
        return super().held() | {"texture": self.options.texture_smoothness * self.ties(self.colors)}
