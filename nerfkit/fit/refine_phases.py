"""The two phases of refinement: vertices with their colors, whose faces may change; then vertices with a texture."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.adam import Adam
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_targets import Shape, Targets
from nerfkit.fit.refine_window import Windows
from nerfkit.fit.texels import Ties, texel_looks
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.remeshing.adapt import adapt, curvature
from nerfkit.raster import Rendering, render
from nerfkit.raster.visibility import Visibility, pick_visibility

BETAS = (0.5, 0.999)  # of the colors' Adam
EVEN_SHARE = 0.25  # of the mean curvature, added to it everywhere: flat parts need some faces, too


class Phase:
    """Vertices and colors on their way to the training views.

    Args:
        mesh: where they are now.
        colors: its vertex colors or its texture.
        unit: of the errors of depth; None takes the mesh's mean edge.
        optimizer: the optimizer that has moved the same vertices so far and goes on; None starts anew.
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
    ) -> None:
        self.start, self.targets, self.options, self.visibility = mesh, targets, options, visibility
        self.windows = Windows(targets.scene, whole=not pick_visibility(visibility).local)
        self.faces = mesh.faces
        self.moves = options.vertex_rate > 0
        self.vertices = mesh.vertices.clone().requires_grad_(self.moves)
        self.colors = colors.clone().requires_grad_()
        self.base = mesh.vertices
        self.shape = Shape(self.base, mesh.faces)
        self.unit = self.shape.edge if unit is None else unit
        edges = self.shape.topology.edges
        if optimizer is None:
            self.vertex_optimizer = LargeSteps(self.vertices, edges, options.smoothness)
        else:
            self.vertex_optimizer = optimizer.remeshed(self.vertices, edges, optimizer.moments())
        self.color_optimizer = Adam([self.colors], betas=BETAS)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but what is made of the phase's first mesh."""
        return {
            "faces": self.faces,
            "base": self.base,
            "vertices": self.vertices.detach(),
            "colors": self.colors.detach(),
            "unit": self.unit,
            "vertex_optimizer": self.vertex_optimizer.state_dict(),
            "color_optimizer": self.color_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state of a phase with the same first mesh."""
        self.faces, self.base, self.unit = state["faces"], state["base"], state["unit"]
        self.vertices = state["vertices"].clone().requires_grad_(self.moves)
        self.colors = state["colors"].clone().requires_grad_()
        self.shape = Shape(self.base, self.faces)
        self.vertex_optimizer = LargeSteps(self.vertices, self.shape.topology.edges, self.options.smoothness)
        self.vertex_optimizer.load_state_dict(state["vertex_optimizer"])
        self.color_optimizer = Adam([self.colors], betas=BETAS)
        self.color_optimizer.load_state_dict(state["color_optimizer"])

    def render(self, cameras: Cameras) -> Rendering:
        """Pictures of the mesh as it is now."""
        raise NotImplementedError

    def step(self, rate: float) -> dict[str, float]:
        """One step of both optimizers at ``rate`` times the options' rates; returns the terms of the loss.

        Nothing moves where a term is NaN or infinite.
        """
        terms = self.losses(self.targets.next_views())
        total = torch.stack(list(terms.values())).sum()
        if torch.isfinite(total):
            self.vertices.grad = self.colors.grad = None
            total.backward()
            if self.moves:
                self.vertex_optimizer.step(self.options.vertex_rate * rate)
            self.color_optimizer.param_groups[0]["lr"] = self.options.texture_rate * rate
            self.color_optimizer.step()
            with torch.no_grad():
                self.colors.clamp_(0, 1)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, views: list[int]) -> dict[str, Tensor]:
        """The weighted terms over some views."""
        window = self.windows.around(self.vertices, views)
        rendering = self.render(window.cameras(self.targets.scene.cameras[views]))
        terms = self.targets.terms(rendering, views, self.unit, window)
        if self.moves:
            terms |= self.shape.terms(self.vertices, self.options)
        return terms | self.color_terms(len(views), rendering.alpha.detach().sum())

    def color_terms(self, views: int, pixels: Tensor) -> dict[str, Tensor]:
        """What else the colors are held to, where ``views`` photos show the mesh on ``pixels`` pixels."""
        return {}


class Colored(Phase):
    """The first phase.

    Args:
        mesh: with vertex colors.
    """

    def __init__(self, mesh: Mesh, targets: Targets, options: RefineOptions, visibility: Visibility | str) -> None:
        assert mesh.colors is not None
        super().__init__(mesh, mesh.colors, targets, options, visibility, None, None)

    def mesh(self) -> Mesh:
        """The mesh as it is now, with vertex colors."""
        plain = self.start.without_appearance()
        vertices, colors = self.vertices.detach().clone(), self.colors.detach().clone()
        return replace(plain, vertices=vertices, faces=self.faces, colors=colors)

    def render(self, cameras: Cameras) -> Rendering:
        return render(self.vertices, self.faces, cameras, colors=self.colors, visibility=self.visibility)

    def remesh(self, faces: int) -> None:
        """About ``faces`` faces, denser where the surface bends more; both optimizers go on with their moments."""
        vertices = self.vertices.detach()
        density = curvature(vertices, self.faces)
        density = density.clamp(max=density.quantile(0.99).item())
        density = density + EVEN_SHARE * density.mean()
        state = self.color_optimizer.state.get(self.colors, {})
        none = torch.zeros_like(self.colors)
        moments = [state.get("exp_avg", none), state.get("exp_avg_sq", none), self.vertex_optimizer.moments()]
        result = adapt(vertices, self.faces, faces, density, torch.cat([self.colors.detach(), *moments], 1))
        assert result.attributes is not None
        colors, mean, square, moved = result.attributes.split([3, 3, 3, 6], 1)
        self.vertices = result.vertices.clone().requires_grad_(self.moves)
        self.colors = colors.to(none).contiguous().requires_grad_()
        self.faces, self.base = result.faces, result.vertices
        self.shape = Shape(self.base, self.faces)
        self.vertex_optimizer = self.vertex_optimizer.remeshed(self.vertices, self.shape.topology.edges, moved)
        self.color_optimizer = Adam([self.colors], betas=BETAS)
        if state:
            carried = {"exp_avg": mean.to(none).contiguous(), "exp_avg_sq": square.to(none).contiguous()}
            self.color_optimizer.state[self.colors] = {"step": state["step"], **carried}


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
        before: Colored | None = None,
    ) -> None:
        assert mesh.texture is not None
        unit, optimizer = (None, None) if before is None else (before.unit, before.vertex_optimizer)
        super().__init__(mesh, mesh.texture, targets, options, visibility, unit, optimizer)
        assert mesh.corner_uvs is not None
        tied = options.texture_smoothness > 0
        self.ties = Ties(mesh.corner_uvs, texel_looks(mesh, targets.scene)) if tied else None

    def mesh(self) -> Mesh:
        """The mesh as it is now, with a texture."""
        vertices, texture = self.vertices.detach().clone(), self.colors.detach().clone()
        return replace(self.start, vertices=vertices, texture=texture, colors=None)

    def render(self, cameras: Cameras) -> Rendering:
        uvs = self.start.corner_uvs
        return render(
            self.vertices, self.faces, cameras, corner_uvs=uvs, texture=self.colors, visibility=self.visibility
        )

    def color_terms(self, views: int, pixels: Tensor) -> dict[str, Tensor]:
        """The ties of ``nerfkit.fit.texels``, in the unit of ``image``: sums over all photos, per pixel of theirs."""
        if self.ties is None:
            return {}
        of_all = pixels.clamp(min=1) * len(self.targets.scene.train) / views
        return {"texture": self.options.texture_smoothness * self.ties(self.colors) / of_all}
