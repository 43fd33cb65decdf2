"""The thing in the middle, for photos without masks: cut off what carries it, keep its part, and let the field mask it.

The region holds the thing, a piece of the table that it stands on, perhaps of a wall.
The density counts above the supporting plane only, so that the surface is cut there; close to it, where a field's table
bulges, only below what stands out further. Of the parts that leaves, the one
with most surface near the region's center is the thing. The field's cells around it then show it alone, and their
opacity in each photo is its mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from nerfkit.fit.walls import Density, Plane, outside
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.repair import select_faces
from nerfkit.mesh.sampling import sample_surface
from nerfkit.mesh.topology import components
from nerfkit.raster import rasterize
from nerfkit.runs.progress import track
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.photo_store import BUDGET, PhotoStore
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from nerfkit.volume.nested import NestedSampler
from nerfkit.volume.samplers import OccupancySampler

LIFT = 0.02  # above the plane, from where on anything counts; as all lengths here, of the region's half side
BAND = 0.12  # how far a field's table may bulge
SPARE = 0.03  # around the footprint
CENTER = 0.4  # of the region's half side: surface that far from the middle has a say in which part is the thing
THICK = 2  # cells around its surface that belong to the thing
POINTS = 300_000  # on its surface, many to a cell
UNSURE = (0.2, 0.8)  # opacities between which a pixel is neither the thing nor not
OPAQUE = 254.5 / 255  # from here on, nothing of what is behind a pixel's surface is left in its bytes
SURE = 0.5  # share of pixels that masks must be sure of


def raised(plane: Plane, height: float) -> Plane:
    """The plane at a height above itself."""
    return (*plane[:3], plane[3] + height)


def above(density: Density, plane: Plane, footprint: ConvexHull | None = None) -> Density:
    """The density above a plane n p = offset, and 0 below.

    With a ``footprint`` (see there) also 0 where it is within ``BAND`` of the plane and outside of that.
    """

    def cut(points: Tensor) -> Tensor:
        height = points @ points.new_tensor(plane[:3]) - plane[3]
        counts = height > 0
        if footprint is not None:
            sides = points.new_tensor(footprint.equations)  # (E, 3): outward normals in the plane, and offsets
            outside = (points @ _along(plane).to(points) @ sides[:, :2].T + sides[:, 2]).amax(-1)
            counts &= (height > BAND) | (outside < SPARE)
        return torch.where(counts, density(points), 0.0)

    return cut


def footprint(mesh: Mesh, plane: Plane) -> ConvexHull:
    """The convex hull of a mesh's lowest ``BAND`` seen along the plane's normal, in coordinates that ``_along`` gives.

    What is higher may lean out over the table that it stands on. Of a mesh so coarse that its lowest vertices span no
    area, it is that of all.
    """
    vertices = mesh.vertices.cpu()
    height, flat = vertices @ vertices.new_tensor(plane[:3]), (vertices @ _along(plane)).numpy()
    try:
        return ConvexHull(flat[(height < height.min() + BAND).numpy()])
    except QhullError:
        return ConvexHull(flat)


def _along(plane: Plane) -> Tensor:
    """Two unit vectors along the plane, (3,2)."""
    return torch.linalg.svd(torch.tensor([plane[:3]]))[2][1:].T.contiguous()


def middle_part(mesh: Mesh) -> Mesh:
    """The connected part with most area near the center; the largest, where none is near."""
    label, area = components(mesh), face_areas(mesh.vertices, mesh.faces)
    distance = mesh.vertices[mesh.faces].mean(1).norm(dim=-1)  # (F,)
    near = area * torch.exp(-((distance / CENTER) ** 2))
    total = torch.zeros(int(label.max()) + 1, device=label.device).index_add(0, label, near)
    return select_faces(mesh, label == total.argmax())


def cells_around(mesh: Mesh, resolution: int, walls: Sequence[Plane] = ()) -> Tensor:
    """The cells of a grid over [-1,1]^3 that hold the thing: within two of its surface, inside, within the ``walls``.

    Args:
        mesh: closed.

    Returns:
        (G,G,G) bool on the CPU.
    """
    points = sample_surface(mesh.vertices.cpu(), mesh.faces.cpu(), POINTS).points
    index = ((points + 1) / 2 * resolution).long().clamp(0, resolution - 1)
    surface = np.zeros((resolution,) * 3, bool)
    surface[tuple(index.T.numpy())] = True
    thick = ndimage.binary_dilation(surface, np.ones((3, 3, 3), bool), THICK)
    cells = torch.from_numpy(ndimage.binary_fill_holes(thick))
    if walls:
        line = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
        middle = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)  # (G, G, G, 3)
        cells &= outside(middle, walls) < 0
    return cells


def alone(model: RadianceModel, mesh: Mesh, walls: Sequence[Plane] = ()) -> RadianceModel:
    """The field of the thing alone, without what is around and beyond it; shares the model's weights."""
    sampler = model.sampler.region if isinstance(model.sampler, NestedSampler) else model.sampler
    assert isinstance(sampler, OccupancySampler)
    grid = sampler.grid
    cells = cells_around(mesh, grid.resolution, walls).to(model.device)
    return RadianceModel(model.field, OccupancySampler(grid.restricted(cells)))


def masked(
    scene: Scene,
    opacity: Callable[[int], Tensor],
    memory_gb: float = BUDGET,
    around: Callable[[int, Tensor], Tensor] | None = None,
    ranks: Ranks = ALONE,
) -> Scene:
    """The scene with an opacity (H,W) in [0,1] of every view as its mask, as a rule that of the thing's field.

    Pixels where it is between 0.2 and 0.8 are ignored: nobody knows. Where it is a, from 0.8 up, and c is what the
    rest of the scene adds to the photo p, the thing's premultiplied color is p - c, within [0, a]; otherwise a p. With
    masks, the photos are there a second time; what is more than ``memory_gb`` of both together goes into a file. Masks
    that the scene has already are multiplied.

    Args:
        around: c of those pixels of a view that (H,W) bool names, (P,3) in [0,1] (``light_around``); None: a p.
        ranks: the processes that look at views; of several, ``opacity`` and ``around`` are functions of modules.
    """
    left = max(memory_gb - scene.images.pixels.nbytes / 1e9, 0.0) if scene.images.folder is None else 0.0
    store = PhotoStore(len(scene.images), left, f"{scene.name} with masks")
    views = range(len(scene.images))
    for picture, ignored in track(ranks.spread(_masked_view, views, scene, opacity, around), len(views), "masks"):
        store.add(picture.numpy(), ignored.numpy())
    return replace(scene, images=store.photos(), has_masks=True, unbounded=False)


def _masked_view(
    view: int, scene: Scene, opacity: Callable[[int], Tensor], around: Callable[[int, Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """A view's picture (H,W,4) uint8, and which of its pixels (H,W) are ignored."""
    alpha = opacity(view).cpu()[..., None]  # (H, W, 1)
    photo = scene.images[view].cpu()
    before = photo[..., 3:] if scene.has_masks else 255
    color, solid = photo[..., :3] * alpha, before * alpha
    mixed = (alpha[..., 0] >= UNSURE[1]) & (alpha[..., 0] < OPAQUE)
    if around is not None and mixed.any():
        own = photo[mixed][:, :3] - 255 * around(view, mixed).cpu()
        color[mixed] = own.clamp(min=0).minimum(solid[mixed])
    picture = torch.cat([color, solid], -1).round().to(torch.uint8)
    unsure = (alpha[..., 0] > UNSURE[0]) & (alpha[..., 0] < UNSURE[1])
    return picture, unsure | ~scene.images.known(view).cpu()


@torch.no_grad()
def light_around(whole: RadianceModel, thing: RadianceModel, scene: Scene, view: int, pixels: Tensor) -> Tensor:
    """What a field paints at ``pixels`` (H,W) bool of a view besides the ``thing``, (P,3) in [0,1], premultiplied."""
    origins, directions = (rays[pixels.flatten()].to(whole.device) for rays in scene.cameras.image_rays(view))

    def found(o: Tensor, d: Tensor) -> Tensor:
        return (whole.render_rays(o, d)[0].color - thing.render_rays(o, d)[0].color).clamp(0, 1)

    return torch.cat(whole.in_pieces("rays", found, origins, directions))


@torch.no_grad()
def doubt(scene: Scene, masks: Scene, mesh: Mesh) -> str | None:
    """Why a scene's ``masks`` (see ``masked``) are nothing to refine a mesh toward, in words; None: they will do.

    They will not where, in half of the training photos, the mask is sure of the thing on less than half of the pixels
    that the mesh covers, or ignores more than half of the photo.
    """
    covered_sure, unsure = [], []
    for view in scene.train:
        counts, sure = scene.images.known(view).cpu(), masks.images.known(view)
        unsure.append(float((counts & ~sure).sum() / counts.sum().clamp(min=1)))
        covered = rasterize(mesh.vertices, mesh.faces, scene.cameras[view]).covered[0].cpu() & counts
        thing = masks.images[view][..., 3] >= 255 * UNSURE[1]
        if covered.any():
            covered_sure.append(float((thing & sure & covered).sum() / covered.sum()))
    if not covered_sure or np.median(covered_sure) < SURE:
        share = np.median(covered_sure) if covered_sure else 0.0
        return f"the field is sure of the object on {share:.0%} of the pixels that the mesh covers (photos' median)"
    if np.median(unsure) > 1 - SURE:
        return f"the field is not sure what {np.median(unsure):.0%} of the pixels show (photos' median)"
    return None
