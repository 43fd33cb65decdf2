"""PyTorch3D's "Deform a source mesh to form a target mesh": a sphere becomes another mesh by its surface alone.

    chamfer    1.0    between points drawn anew on both surfaces at every step
    edge       1.0    mean squared length of the edges
    normal     0.01   1 - cosine between neighboring faces
    laplacian  0.1    mean length of the uniform Laplacian

by stochastic gradient descent, rate 1, momentum 0.9. As there, the target is centered and scaled to about [-1, 1].
"""

from dataclasses import dataclass, replace

import torch

from nerfkit.config import TrainOptions
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.losses import edge_length, laplacian_norm, normal_consistency
from nerfkit.mesh.measures import surface_distance
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.sampling import chamfer_distance, sample_surface
from nerfkit.mesh.shapes import icosphere
from nerfkit.mesh.topology import topology_report
from nerfkit.recipes import RecipeOptions, mesh_option, recipe, steps_option, subdivisions_option, weight
from nerfkit.recipes.common import descend, fit_mesh, ring, save, write_strip
from nerfkit.recipes.targets import target_mesh
from nerfkit.runs.folder import Run
from nerfkit.schema import option
from nerfkit.view.timelapse import shaded


@dataclass
class MeshDeformOptions(RecipeOptions):
    """PyTorch3D's "Deform a source mesh to form a target mesh"."""

    name: str = "mesh_deform"
    mesh: str | None = mesh_option("a dolphin")
    steps: int = steps_option(2000)
    points: int = option(5000, "on each surface, drawn anew at every step", least=1, most=10**7)
    subdivisions: int = subdivisions_option(4)
    rate: float = option(1.0, "of the descent", above=0)
    momentum: float = option(0.9, "of the descent", least=0, below=1)
    chamfer: float = weight(1.0, "of the distance between the points")
    edge: float = weight(1.0, "of the edges' mean squared length")
    normal: float = weight(0.01, "of neighboring faces alike")
    laplacian: float = weight(0.1, "of the uniform Laplacian's mean length")


@recipe(MeshDeformOptions, uses=("seed", "timelapse", "export"))
def run(o: MeshDeformOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """See ``nerfkit.recipes``. Figures: chamfer distance, F-score at 1 % of the diagonal, whether it is closed."""
    target = target_mesh(o.mesh).to(device)
    start = icosphere(o.subdivisions).without_appearance().to(device)
    offsets = torch.zeros_like(start.vertices, requires_grad=True)
    topology = Topology.of(start.faces, len(offsets))
    optimizer = torch.optim.SGD([offsets], lr=o.rate, momentum=o.momentum)
    seed = [int(config.seed)]

    def step(share: float) -> dict[str, float]:
        vertices = start.vertices + offsets
        seed[0] += 2
        points = sample_surface(vertices, start.faces, o.points, seed[0]).points
        true = sample_surface(target.vertices, target.faces, o.points, seed[0] + 1).points
        return descend(
            [optimizer],
            {
                "chamfer": o.chamfer * chamfer_distance(points, true),
                "edge": o.edge * edge_length(vertices, topology),
                "normal": o.normal * normal_consistency(vertices, topology),
                "laplacian": o.laplacian * laplacian_norm(vertices, topology),
            },
        )

    def mesh() -> Mesh:
        return replace(start, vertices=start.vertices + offsets.detach()).to("cpu")

    done = fit_mesh("mesh_deform", step, config, record, mesh, ring(8, 256, 3.2, 20.0))
    aim = target.to("cpu").without_appearance()
    distance = surface_distance(mesh(), aim, threshold=0.01)
    figures = {"chamfer": distance.chamfer, "f_score": distance.f_score, "steps": done}
    record.update_metrics({"mesh_deform": {**figures, "watertight": topology_report(mesh()).watertight}})
    record.log(
        f"mesh_deform: {done} steps; chamfer {100 * distance.chamfer:.3f} % of the diagonal, "
        f"F-score at 1 % {distance.f_score:.4f}"
    )
    pictures = [torch.from_numpy(shaded(shown, ring(8, 256, 3.2, 20.0)[1], (1, 1, 1))) / 255 for shown in (mesh(), aim)]
    write_strip(record.folder / "images" / "mesh_deform.png", pictures)
    save(mesh(), config, record)
