"""What a mesh is refined toward: the training photos, their masks, and the depth that the field sees."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_window import Window
from nerfkit.kernels.pixel_loss import pixel_loss
from nerfkit.kernels.shape_terms import Lists, shape_terms
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.mesh import scattered
from nerfkit.raster import Rendering
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.epochs import training_views
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel

DEPTH_RAYS = 8192  # a view, on a lattice over the whole picture; those outside of the mask are not cast
OPAQUE = 0.95  # opacity from which a ray has one depth
LEAST = 1e-4  # share of the pixels that is covered, where none is
ABSOLUTE = 1e-8  # scale of pseudo-Huber errors: below a rounding of float32, so they are absolute ones


@dataclass(frozen=True)
class DepthTargets:
    """The field's surface as the training cameras see it, at some of their pixels.

    Attributes:
        pixel: by view, (P,) int64 numbers i W + j of pixels.
        depth: by view, (P,) float32, along the camera's axis in normalized units.
    """

    pixel: dict[int, Tensor]
    depth: dict[int, Tensor]


def field_depth(model: RadianceModel, scene: Scene, ranks: Ranks = ALONE) -> DepthTargets:
    """Expected depth of the field at a lattice of pixels of every training view, where its opacity is at least 0.95.

    Only pixels that the mask covers whole are asked for: a ray along the outline has no one depth.
    """
    found = dict(zip(scene.train, ranks.spread(_view_depth, scene.train, model, scene), strict=True))
    return DepthTargets(
        {view: pixel for view, (pixel, _) in found.items()}, {v: depth for v, (_, depth) in found.items()}
    )


@torch.no_grad()
def _view_depth(view: int, model: RadianceModel, scene: Scene) -> tuple[Tensor, Tensor]:
    """Pixels (P,) of a view and their depths (P,)."""
    cameras = scene.cameras
    height, width = cameras.sizes[view]
    stride = max(1, round((height * width / DEPTH_RAYS) ** 0.5))
    lattice = torch.zeros(height, width, dtype=torch.bool)
    lattice[stride // 2 :: stride, stride // 2 :: stride] = True
    whole = (scene.images[view][..., 3] == 255) & scene.images.known(view)
    wanted = (lattice & whole).flatten().nonzero()[:, 0]
    if not len(wanted):
        return wanted, torch.zeros(0)
    origins, directions = (rays[wanted] for rays in cameras.image_rays(view))
    found = model.in_pieces("rays", lambda o, d: model.render_rays(o, d)[0], origins, directions)
    opacity = torch.cat([piece.opacity for piece in found]).cpu()
    distance = torch.cat([piece.depth for piece in found]).cpu() / opacity.clamp_min(1e-6)
    forward = -cameras.camera_to_world[view, :, 2]
    opaque = opacity >= OPAQUE
    return wanted[opaque], (distance * (directions @ forward))[opaque]


class Ratio(NamedTuple):
    """A term of the loss by what may be added up over parts of its views: ``top / max(bottom, least)``."""

    top: Tensor
    bottom: Tensor
    least: float


@dataclass(frozen=True)
class Look:
    """What a step looks at, or a part of it.

    Attributes:
        views: N training views, of one size.
        window: the part of their pictures.
        behind: (N,1,1,3), the color behind mesh and photo, where masks have a say in the shape.
    """

    views: list[int]
    window: Window
    behind: Tensor | None

    def part(self, ranks: Ranks) -> "Look":
        """A process' views; one after the other is another's, so that the first has one."""
        mine = slice(ranks.rank, None, ranks.count)
        w = self.window
        window = Window(w.top[mine], w.left[mine], w.height, w.width)
        return Look(self.views[mine], window, None if self.behind is None else self.behind[mine])


@dataclass(frozen=True)
class Wanted:
    """What pictures are compared with; the arguments are those of ``Targets``."""

    scene: Scene
    options: RefineOptions
    depth: DepthTargets | None = None

    def terms(self, rendering: Rendering, look: Look, unit: float, share: float = 1.0) -> dict[str, Ratio]:
        """The weighted terms of a rendering of what a step looks at, or of its ``share`` of a step's views.

        ``image`` and ``mask`` are absolute errors per covered pixel; where no vertex moves, or there are no masks,
        those pixels count that mesh and photo both show whole. ``depth`` is the mean absolute error of depth in units
        of length ``unit``, up to the median of each view: light goes some way into a field's surface, about as far
        everywhere, so that its depth is the shape's but not the place. Errors beyond one unit count as one: the field's
        depth is wrong where it blurs one surface into another.
        """
        o, scene, window = self.options, self.scene, look.window
        rgb, alpha, fragments = rendering
        true = window.cut([scene.images[view] for view in look.views]).to(rgb.device).float().div_(255)  # (N, h, w, 4)
        if scene.images.ignored is not None:
            known = window.cut([scene.images.known(view) for view in look.views]).to(rgb)  # (N, h, w)
            true, rgb, alpha = true * known[..., None], rgb * known[..., None], alpha * known
        covered = share * (alpha.detach().mean() if look.behind is None else true[..., 3].mean())
        terms = {}
        if look.behind is not None:
            behind = look.behind.to(rgb).expand_as(rgb)
            flat = (rgb.reshape(-1, 3), alpha.reshape(-1), true.view(-1, 4), behind.reshape(-1, 3))
            loss = pixel_loss(*flat, ABSOLUTE, o.mask_weight)
            terms["image"] = Ratio(share * loss.color, covered, LEAST)
            if loss.silhouette is not None:
                terms["mask"] = Ratio(share * loss.silhouette, covered, LEAST)
        else:
            # pixels on an outline show some of the backdrop, which would shrink the mesh, or end up in its texture
            inside = alpha.detach() > 0.99  # (N, h, w)
            if scene.has_masks:
                inside &= true[..., 3] > 0.99
            error = ((rgb - true[..., :3]) * inside[..., None]).abs().mean()
            terms["image"] = Ratio(share * error, covered, LEAST)
        if self.depth is not None and o.depth_weight:
            errors = []
            for k, view in enumerate(look.views):
                place = window.places(k, self.depth.pixel[view], scene.cameras.sizes[view][1]).to(rgb.device)  # (P,)
                seen = fragments.depth[k].flatten()[place]  # (P,)
                error = ((seen - self.depth.depth[view].to(seen)) / unit)[(seen > 0) & (place >= 0)]
                errors.append(error - error.detach().median() if len(error) else error)
            error = torch.cat(errors).abs().clamp(max=1)
            terms["depth"] = Ratio(o.depth_weight * error.sum(), covered.new_tensor(float(len(error))), 1.0)
        return terms


class Targets:
    """Training views in random order, and what a mesh is compared with in them.

    Args:
        scene: whose training views count.
        options: of the whole stage.
        seed: of the order of views and of the random backgrounds.
        depth: what the field sees; None for no term of depth.
    """

    def __init__(self, scene: Scene, options: RefineOptions, seed: int, depth: DepthTargets | None = None) -> None:
        self.scene, self.options, self.wanted = scene, options, Wanted(scene, options, depth)
        self.generator = torch.Generator().manual_seed(seed)
        self.views = training_views(scene, self.generator)

    def next_views(self) -> list[int]:
        """Every training view once, in a random order, then again in another."""
        return self.views.next(self.options.views_per_step)

    def look(self, views: list[int], window: Window | None = None) -> Look:
        """At some views, or a part of them, over random colors, so that darkness cannot pass for emptiness."""
        count, shaped = len(views), self.scene.has_masks and self.options.vertex_rate > 0
        behind = torch.rand(count, 1, 1, 3, generator=self.generator) if shaped else None
        if window is None:
            window = Window([0] * count, [0] * count, *self.scene.cameras.sizes[views[0]])
        return Look(views, window, behind)

    def state_dict(self) -> dict[str, Any]:
        """All that the next draw depends on."""
        return {"generator": self.generator.get_state(), "queue": list(self.views.queue)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.generator.set_state(state["generator"].cpu())
        self.views.queue = list(state["queue"])


class Shape:
    """The terms that keep a mesh smooth while its vertices move, in units of its own edges at the start.

    Args:
        vertices: (V,3) at the start.
        faces: (F,3) int64.
    """

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        self.topology = Topology.of(faces, len(vertices))
        first, second = self.topology.edges.unbind(-1)
        length = (vertices[first] - vertices[second]).detach().norm(dim=-1)  # (E,)
        self.edge = length.mean().item()
        self.length = length.clamp(min=1e-3 * self.edge)
        ends = self.topology.edges.flatten()
        total = scattered(
            len(vertices), ends, torch.stack([self.length, torch.ones_like(length)], 1).repeat_interleave(2, 0)
        )
        self.around = total[:, 0] / total[:, 1].clamp(min=1)  # (V,), mean length of the edges there
        self.around = torch.where(total[:, 1] > 0, self.around, self.edge)
        found = self.topology
        self.lists = Lists.of(found.faces, found.edges, found.face_pairs, found.pair_signs, len(vertices))

    def terms(self, vertices: Tensor, options: RefineOptions) -> dict[str, Tensor]:
        """``laplacian`` and ``edge`` are relative to the local edge length, so that fine parts may stay fine."""
        found = shape_terms(vertices, self.lists, self.around, self.length)
        return {
            "laplacian": options.laplacian_weight * found.laplacian,
            "normal": options.normal_weight * found.normal,
            "edge": options.edge_weight * found.edge,
        }
