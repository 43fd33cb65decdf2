"""The two phases of refinement: vertices with their colours, whose faces may change; then vertices with a texture."""

from dataclasses import replace

import torch
from omegaconf import DictConfig
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.fit.large_steps import LargeSteps
from nerfkit.fit.refine_targets import Shape, Targets
from nerfkit.mesh.adapt import adapt, curvature
from nerfkit.mesh.mesh import Mesh
from nerfkit.raster import Rendering, render
from nerfkit.raster.visibility import Visibility

BETAS = (0.5, 0.999)  # of the colours' Adam
EVEN_SHARE = 0.25  # of the mean curvature, added to it everywhere: flat parts need some faces, too


class Phase:
    """Vertices and colours on their way to the training views.

    Args:
        mesh: where they are now.
        paint: its vertex colours or its texture.
        unit: of the errors of depth; None takes the mesh's mean edge.
        mover: the optimiser that has moved the same vertices so far and goes on; None starts anew.
    """

    def __init__(
        self,
        mesh: Mesh,
        paint: Tensor,
        targets: Targets,
        options: DictConfig,
        visibility: Visibility | str,
        unit: float | None,
        mover: LargeSteps | None,
    ) -> None:
        self.start, self.targets, self.options, self.visibility = mesh, targets, options, visibility
        self.faces = mesh.faces
        self.vertices = mesh.vertices.clone().requires_grad_()
        self.paint = paint.clone().requires_grad_()
        self.shape = Shape(mesh.vertices, mesh.faces)
        self.unit = self.shape.edge if unit is None else unit
        edges = self.shape.topology.edges
        if mover is None:
            self.mover = LargeSteps(self.vertices, edges, options.smoothness)
        else:
            self.mover = mover.remeshed(self.vertices, edges, mover.moments())
        self.painter = torch.optim.Adam([self.paint], betas=BETAS)

    def render(self, cameras: Cameras) -> Rendering:
        """Pictures of the mesh as it is now."""
        raise NotImplementedError

    def step(self, rate: float) -> dict[str, float]:
        """One step of both optimisers at ``rate`` times the options' rates; returns the terms of the loss.

        Nothing moves where a term is NaN or infinite.
        """
        terms = self.losses(self.targets.next_views())
        total = torch.stack(list(terms.values())).sum()
        if torch.isfinite(total):
            self.vertices.grad = self.paint.grad = None
            total.backward()
            self.mover.step(self.options.vertex_rate * rate)
            self.painter.param_groups[0]["lr"] = self.options.texture_rate * rate
            self.painter.step()
            with torch.no_grad():
                self.paint.clamp_(0, 1)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, views: list[int]) -> dict[str, Tensor]:
        """The weighted terms over some views."""
        rendering = self.render(self.targets.scene.cameras[views])
        return self.targets.terms(rendering, views, self.unit) | self.shape.terms(self.vertices, self.options)


class Coloured(Phase):
    """The first phase.

    Args:
        mesh: with vertex colours.
    """

    def __init__(self, mesh: Mesh, targets: Targets, options: DictConfig, visibility: Visibility | str) -> None:
        assert mesh.colours is not None
        super().__init__(mesh, mesh.colours, targets, options, visibility, None, None)

    def mesh(self) -> Mesh:
        """The mesh as it is now, with vertex colours."""
        plain = self.start.without_appearance()
        vertices, colours = self.vertices.detach().clone(), self.paint.detach().clone()
        return replace(plain, vertices=vertices, faces=self.faces, colours=colours)

    def render(self, cameras: Cameras) -> Rendering:
        return render(self.vertices, self.faces, cameras, colours=self.paint, visibility=self.visibility)

    def remesh(self, faces: int) -> None:
        """About ``faces`` faces, denser where the surface bends more; both optimisers go on with their moments."""
        vertices = self.vertices.detach()
        density = curvature(vertices, self.faces)
        density = density.clamp(max=density.quantile(0.99).item())
        density = density + EVEN_SHARE * density.mean()
        state = self.painter.state.get(self.paint, {})
        none = torch.zeros_like(self.paint)
        moments = [state.get("exp_avg", none), state.get("exp_avg_sq", none), self.mover.moments()]
        result = adapt(vertices, self.faces, faces, density, torch.cat([self.paint.detach(), *moments], 1))
        assert result.attributes is not None
        paint, mean, square, moved = result.attributes.split([3, 3, 3, 6], 1)
        self.vertices = result.vertices.clone().requires_grad_()
        self.paint = paint.to(none).contiguous().requires_grad_()
        self.faces = result.faces
        self.shape = Shape(result.vertices, self.faces)
        self.mover = self.mover.remeshed(self.vertices, self.shape.topology.edges, moved)
        self.painter = torch.optim.Adam([self.paint], betas=BETAS)
        if state:
            carried = {"exp_avg": mean.to(none).contiguous(), "exp_avg_sq": square.to(none).contiguous()}
            self.painter.state[self.paint] = {"step": state["step"], **carried}


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
        options: DictConfig,
        visibility: Visibility | str,
        before: Coloured | None = None,
    ) -> None:
        assert mesh.texture is not None
        unit, mover = (None, None) if before is None else (before.unit, before.mover)
        super().__init__(mesh, mesh.texture, targets, options, visibility, unit, mover)

    def mesh(self) -> Mesh:
        """The mesh as it is now, with a texture."""
        vertices, texture = self.vertices.detach().clone(), self.paint.detach().clone()
        return replace(self.start, vertices=vertices, texture=texture, colours=None)

    def render(self, cameras: Cameras) -> Rendering:
        uvs = self.start.corner_uvs
        return render(
            self.vertices, self.faces, cameras, corner_uvs=uvs, texture=self.paint, visibility=self.visibility
        )
