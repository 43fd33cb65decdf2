"""From a field to a coarse mesh: isosurface, no floaters or unseen parts, decimated, colored by the field."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerfkit.errors import SceneError
from nerfkit.fit.subject import BAND, LIFT, above, footprint, middle_part, raised
from nerfkit.fit.walls import Density, Plane, crop_of, cropped, opened, walls_of
from nerfkit.mesh.clean import decimate, remove_floaters, smooth
from nerfkit.mesh.extract import MAX_RESOLUTION, extract_mesh
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.mesh.repair import select_faces
from nerfkit.mesh.topology import components
from nerfkit.raster import rasterize
from nerfkit.runs.progress import Progress
from nerfkit.scenes.frame import Corners, corners_of
from nerfkit.scenes.scene import Scene
from nerfkit.schema import Options, option
from nerfkit.volume.model import RadianceModel

SMOOTHING = 5  # rounds of Taubin smoothing before decimation: ripples of the field would claim the face budget
FEELER = 0.05  # how far in front of a surface point, in normalized units, the ray that reads its color starts


@dataclass
class ExtractOptions(Options):
    """The coarse mesh: the surface of the field."""

    group: ClassVar[str] = "extract"

    resolution: int = option(192, "lattice points along each axis of the unit cube", least=4, most=MAX_RESOLUTION)
    level: float | None = option(
        None, "density of the surface; null: half the light is blocked within four cells", above=0
    )
    faces: int = option(8000, "budget after decimation; a tetrahedron has 4", least=4)
    plane: str = option(
        "auto", "what carries the object, where photos have no masks: auto cuts it off, keep", choices=("auto", "keep")
    )
    min_part: float = option(
        0.02, "parts with less than this share of the largest part's area are dropped", least=0, most=1
    )
    box: Any = option(
        None, "[[x,y,z],[x,y,z]], corners of the box to crop the mesh to, in the scene's own units; null: scene.box"
    )
    closed: bool | None = option(
        None, "whether it gets a floor or a wall where it is cut off; null: only where photos have masks"
    )

    def check(self) -> None:
        super().check()
        self.crop()

    def crop(self) -> Corners | None:
        """``box``, checked."""
        return None if self.box is None else corners_of(self.box, "extract.box")

    def stays_closed(self, scene: Scene) -> bool:
        """Whether the mesh gets a floor or a wall where it is cut off."""
        return not scene.unbounded if self.closed is None else self.closed

    @property
    def cell(self) -> float:
        """Side of a lattice cell, in normalized units."""
        return 2 / (self.resolution - 1)


def coarse_mesh(model: RadianceModel, scene: Scene, options: ExtractOptions) -> Mesh:
    """The surface of a field, at most ``options.faces`` triangles, with vertex colors, in normalized units.

    Where nothing masks the photos, the part in the middle, without what carries it (``nerfkit.fit.subject``). It is
    closed where it is cut off; ``finished`` opens it.

    Raises:
        SceneError: the field has no surface, or it would have none when it is opened.
        ConfigError: ``options.box`` is not in the region.
    """
    with Progress("extract") as progress:
        dense = extract_mesh(
            _density(model, scene, options),
            resolution=options.resolution,
            level=options.level,
            occupancy=model.occupied,
            device=model.device,
            progress=progress.show,
        )
    dense = remove_floaters(dense, options.min_part)
    dense = select_faces(dense, seen_parts(dense.to(model.device), scene).to(dense.faces.device))
    if scene.unbounded:
        dense = middle_part(dense)
    mesh = remove_floaters(decimate(smooth(dense, SMOOTHING), options.faces), options.min_part)
    if not len(finished(mesh, scene, options).faces):
        raise SceneError(
            "extract: what the mesh is cut off with is all there is of it, so its region is inside of something; "
            "choose another region (extract.box), train the field for longer, or keep the cuts with extract.closed=true"
        )
    normals = vertex_normals(mesh.vertices, mesh.faces)
    return replace(mesh, colors=surface_colors(model, mesh.vertices, normals))


def finished(mesh: Mesh, scene: Scene, options: ExtractOptions) -> Mesh:
    """The coarse mesh as it is asked for: open where it is cut off, or as it is (``ExtractOptions.stays_closed``)."""
    if options.stays_closed(scene):
        return mesh
    return remove_floaters(opened(mesh, walls(scene, options), options.cell), options.min_part)


def cutting_plane(scene: Scene, options: ExtractOptions) -> Plane | None:
    """Normal and offset of the plane below which nothing counts; None for none."""
    if scene.ground is None or not scene.unbounded or options.plane == "keep":
        return None
    return raised(scene.ground, LIFT)


def walls(scene: Scene, options: ExtractOptions) -> list[Plane]:
    """Where the mesh ends although what the photos show does not."""
    return walls_of(crop_of(scene, options.crop()), cutting_plane(scene, options))


def _density(model: RadianceModel, scene: Scene, options: ExtractOptions) -> Density:
    """The model's density inside of the box, without what carries the object where that is to be cut off."""
    plane = cutting_plane(scene, options)
    density = cropped(model.density, crop_of(scene, options.crop()))
    if plane is None:
        return density
    try:  # what stands out of the table, at a coarser grid, tells where it stands
        upper = extract_mesh(
            above(density, raised(plane, BAND)),
            resolution=max(4, options.resolution // 2),
            level=options.level,
            occupancy=model.occupied,
            device=model.device,
        )
    except SceneError:
        return above(density, plane)
    return above(density, plane, footprint(middle_part(upper), plane))


def seen_parts(mesh: Mesh, scene: Scene) -> Tensor:
    """Which faces belong to a connected part that covers a pixel of some training view, (F,) bool, on their device.

    What no camera saw is chance. A part that is seen has hidden faces too: without them the surface would be open.
    """
    label = components(mesh)
    seen = torch.zeros(int(label.max()) + 1 if len(label) else 0, dtype=torch.bool, device=label.device)
    for view in scene.train:
        if seen.all():
            break
        face = rasterize(mesh.vertices, mesh.faces, scene.cameras[view]).face
        seen[label[face[face >= 0].long()]] = True
    return seen[label]


@torch.no_grad()
def surface_colors(model: RadianceModel, points: Tensor, normals: Tensor) -> Tensor:
    """What the field shows of surface points (P,3) when looked at along their normals (P,3): colors (P,3) in [0,1].

    Each color is composited along a ray that starts in front of the surface, and divided by its opacity; where the ray
    stays almost empty, the field's color at the point itself is taken.
    """
    # A lock-step sampler begins at its near plane, which must not lie behind the surface.
    start = FEELER + model.sampler.near

    def seen(p: Tensor, n: Tensor) -> Tensor:
        pixels, _ = model.render_rays(p + n * start, -n)
        offsets = torch.arange(len(p) + 1, device=p.device)
        plain = model.field(p, offsets, -n)[1]
        through = pixels.color / pixels.opacity.clamp_min(1e-6)[:, None]
        return torch.where((pixels.opacity > 0.5)[:, None], through, plain).cpu()

    return torch.cat(model.in_pieces("points of the surface", seen, points, normals))
