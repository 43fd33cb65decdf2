"""The four examples of Neural 3D Mesh Renderer (Kato et al. 2018): draw, vertices, textures, camera.

Pictures are 256 pixels wide, twice supersampled, seen from 2.732 units with half an angle of view of 30 degrees. That
project's world is left-handed: its pictures are those of the mesh mirrored in z, so meshes are mirrored as they are
read, and again as they are written.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nerfkit.cameras import Cameras, look_at
from nerfkit.cameras.delta import orbit_cameras
from nerfkit.config import TrainOptions
from nerfkit.fit.loop import optimize
from nerfkit.mesh.laplacian import Topology
from nerfkit.mesh.losses import area_variance, flatness
from nerfkit.mesh.mesh import Mesh, face_normals
from nerfkit.mesh.unwrap import unwrap
from nerfkit.raster import Rendering, render
from nerfkit.recipes import RecipeOptions, mesh_option, recipe, steps_option, weight
from nerfkit.recipes.common import descend, fit_mesh, ring, save, steps_of, write_strip
from nerfkit.recipes.targets import square, stripes, target_mask, target_mesh, target_picture
from nerfkit.runs.files import to_bytes
from nerfkit.runs.folder import Run
from nerfkit.schema import option
from nerfkit.view.video import write_video

DISTANCE, VIEW_ANGLE, SUPERSAMPLING = 2.732, 30.0, 2
AMBIENT, DIRECTIONAL = 0.5, 0.5
"""Its lights: one from everywhere, one from straight above."""


def _size() -> Any:
    return option(256, "side of the pictures in pixels", least=8, most=4096)


@dataclass
class DrawOptions(RecipeOptions):
    """Example 1: a mesh drawn from all around."""

    name: str = "nmr_draw"
    mesh: str | None = mesh_option("a teapot")
    frames: int = option(90, "equal steps of azimuth", least=1, most=100_000)
    size: int = _size()
    elevation: float = option(30.0, "degrees", least=-90, most=90)


@recipe(DrawOptions, uses=())
def draw(o: DrawOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """The mesh from all around, 4 degrees apart at ``elevation`` 30, each face lit as a flat one."""
    mesh = _mesh(o.mesh, device)
    frames = []
    count = max(2, round(o.frames * config.budget))
    cameras = ring(count, o.size, DISTANCE, o.elevation, VIEW_ANGLE).to(device)
    for view in range(count):
        colors = _lit(mesh.vertices, mesh.faces, cameras.positions[view])
        with torch.no_grad():
            drawn = render(mesh.vertices, mesh.faces, cameras[view], corner_colors=colors, supersampling=SUPERSAMPLING)
        frames.append(to_bytes(drawn.rgb[0]))
    for ending in ("mp4", "gif"):
        record.log(f"wrote {write_video(frames, record.folder / 'video' / f'nmr_draw.{ending}', 12.5)}")
    write_strip(record.folder / "images" / "nmr_draw.png", [drawn.rgb[0]])
    record.update_metrics({"nmr_draw": {"frames": count, "faces": len(mesh.faces)}})


@dataclass
class VerticesOptions(RecipeOptions):
    """Example 2: a mesh is bent until its silhouette is the one given."""

    name: str = "nmr_vertices"
    mesh: str | None = mesh_option("a teapot")
    target: str | None = option(None, "a picture; null: a white square", path=True)
    steps: int = steps_option(300)
    size: int = _size()
    rate: float = option(0.001, "of Adam", above=0)
    flatness: float = weight(0.0, "of the paper's smoothness term, which the example leaves out")
    area: float = weight(0.0, "of the variance of the triangles' areas")


@recipe(VerticesOptions, uses=("rasterizer", "timelapse", "export"))
def vertices(o: VerticesOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """One silhouette is given; the vertices move until the mesh has it. Sum of squares, Adam 0.001.

    ``flatness`` and ``area`` weigh the two terms that keep the surface smooth and its triangles alike.
    """
    start = _mesh(o.mesh, device)
    camera = ring(4, o.size, DISTANCE, 0.0, VIEW_ANGLE)[1].to(device)  # azimuth 90
    target = (square(o.size).mean(-1) if o.target is None else target_mask(o.target, o.size, soft=True)).to(device)
    points = start.vertices.clone().requires_grad_()
    topology = Topology.of(start.faces, len(points))
    optimizer = torch.optim.Adam([points], lr=o.rate)
    visibility = config.rasterizer.chosen()

    def silhouette() -> Tensor:
        return render(points, start.faces, camera, visibility=visibility, supersampling=SUPERSAMPLING).alpha[0]

    def step(share: float) -> dict[str, float]:
        terms = {"silhouette": (silhouette() - target).square().sum()}
        if o.flatness:
            terms["flatness"] = o.flatness * flatness(points, topology) * len(topology.face_pairs)
        if o.area:
            terms["area"] = o.area * area_variance(points, topology) * len(start.faces)
        return descend([optimizer], terms)

    def mesh() -> Mesh:
        return _mirrored(replace(start, vertices=points.detach())).to("cpu")

    done = fit_mesh("nmr_vertices", step, config, record, mesh, camera.to("cpu"))
    with torch.no_grad():
        found = silhouette()
    error = (found - target).square().sum().item()
    record.update_metrics({"nmr_vertices": {"silhouette_error": error, "steps": done, "visibility": visibility.name}})
    record.log(
        f"nmr_vertices: sum of squared differences {error:.1f} of {target.sum().item():.0f} pixels, {done} steps"
    )
    write_strip(record.folder / "images" / "nmr_vertices.png", [_gray(found), _gray(target)])
    save(mesh(), config, record)


@dataclass
class TexturesOptions(RecipeOptions):
    """Example 3: a texture is learned that shows one picture from every side."""

    name: str = "nmr_textures"
    mesh: str | None = mesh_option("a teapot")
    target: str | None = option(None, "a picture; null: stripes", path=True)
    steps: int = steps_option(300)
    size: int = _size()
    texture: int = option(512, "texels each way", least=8, most=8192)
    rate: float = option(0.1, "of Adam", above=0)


@recipe(TexturesOptions, uses=("seed", "timelapse", "export"))
def textures(o: TexturesOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """One picture is given; the texture is learned that shows it from every side. Sum of squares, Adam 0.1, 0.5.

    A texture atlas takes the place of the small texture of each face there, tanh of what is learned as there. The
    projection is parallel: a camera very far away.
    """
    start = unwrap(_mesh(o.mesh, torch.device("cpu")), o.texture).to(device)
    target = (stripes(o.size) if o.target is None else target_picture(o.target, o.size)).to(device)
    texture = torch.zeros(o.texture, o.texture, 3, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([texture], lr=o.rate, betas=(0.5, 0.999))
    generator = torch.Generator().manual_seed(int(config.seed))

    def picture(azimuth: float) -> Rendering:
        return render(
            start.vertices,
            start.faces,
            _parallel(o.size, azimuth).to(device),
            corner_uvs=start.corner_uvs,
            texture=torch.tanh(texture),
            supersampling=SUPERSAMPLING,
        )

    def step(share: float) -> dict[str, float]:
        azimuth = 360 * torch.rand((), generator=generator).item()
        return descend([optimizer], {"image": (picture(azimuth).rgb[0] - target).square().sum()})

    def mesh() -> Mesh:
        return _mirrored(replace(start, texture=torch.tanh(texture.detach()).clamp(0, 1))).to("cpu")

    done = fit_mesh("nmr_textures", step, config, record, mesh, ring(1, o.size, DISTANCE, 0.0, VIEW_ANGLE))
    angles = [45.0 * k for k in range(8)]
    with torch.no_grad():
        drawn = [picture(angle) for angle in angles]
    errors = torch.cat([(x.rgb[0] - target).abs().mean(-1)[x.alpha[0] > 0.99] for x in drawn])  # of covered pixels
    record.update_metrics({"nmr_textures": {"image_l1": errors.mean().item(), "steps": done}})
    record.log(f"nmr_textures: mean |rendered - target| on the mesh, from 8 sides: {errors.mean():.4f}, {done} steps")
    write_strip(record.folder / "images" / "nmr_textures.png", [*(x.rgb[0] for x in drawn[:3]), target])
    save(mesh(), config, record)


@dataclass
class CameraOptions(RecipeOptions):
    """Example 4: the camera's position is found from one silhouette."""

    name: str = "nmr_camera"
    mesh: str | None = mesh_option("a teapot")
    target: str | None = option(
        None, "a picture of it, black around it; null: one taken from elevation 30, azimuth -15", path=True
    )
    start: list[float] = option([6.0, 10.0, 14.0], "the camera's place, three numbers, not all 0")
    steps: int = steps_option(1000)
    enough: float = option(70.0, "sum of squared differences at which it stops", least=0)
    size: int = _size()
    rate: float = option(0.1, "of Adam", above=0)

    def check(self) -> None:
        super().check()
        self.expect("start", len(self.start) == 3 and any(self.start), "three numbers, not all 0, as in [6,10,14]")


@recipe(CameraOptions, uses=("rasterizer",))
def camera(o: CameraOptions, config: TrainOptions, record: Run, device: torch.device) -> None:
    """One silhouette of a known mesh is given; the camera's position is found, looking at the origin. Adam 0.1.

    It starts some 18 units away and ends when the sum of squares falls below ``enough``, or after ``steps``.
    """
    mesh = _mesh(o.mesh, device)
    true = ring(24, o.size, DISTANCE, 30.0, VIEW_ANGLE)[23].to(device)  # azimuth -15
    with torch.no_grad():
        if o.target is None:
            target = render(mesh.vertices, mesh.faces, true, supersampling=SUPERSAMPLING).alpha[0]
        else:
            target = target_mask(o.target, o.size).to(device)
    position = torch.tensor(o.start, device=device).float().requires_grad_()
    optimizer = torch.optim.Adam([position], lr=o.rate)
    visibility = config.rasterizer.chosen()

    def silhouette() -> Tensor:
        pose = look_at(position[None], position.new_zeros(3), position.new_tensor([0.0, 1.0, 0.0]))
        view = Cameras(pose, true.intrinsics, o.size, o.size)
        return render(mesh.vertices, mesh.faces, view, visibility=visibility, supersampling=SUPERSAMPLING).alpha[0]

    record.audience.shows("mesh", lambda: _mirrored(mesh).to("cpu"), true.to("cpu"))
    best = [(math.inf, position.detach().clone())]

    def step(share: float) -> dict[str, float]:
        at = position.detach().clone()
        terms = descend([optimizer], {"silhouette": (silhouette() - target).square().sum()})
        best[0] = min(best[0], (terms["silhouette"], at), key=lambda found: found[0])
        return terms

    done = optimize(
        "nmr_camera", step, steps=steps_of(config), run=record, until=lambda terms: terms["silhouette"] < o.enough
    )
    with torch.no_grad():
        if best[0][0] < (silhouette() - target).square().sum():  # a step leads past the best place, too
            position.copy_(best[0][1])
        found = silhouette()
    error = (found - target).square().sum().item()
    away = (position.detach() - true.positions[0]).norm().item()
    figures = {"silhouette_error": error, "steps": done, "visibility": visibility.name}
    figures["position_error"] = away
    record.update_metrics({"nmr_camera": figures})
    record.log(
        f"nmr_camera: sum of squared differences {error:.1f} after {done} steps; the camera is "
        f"{away:.3f} units from the true place, {DISTANCE} from the object"
    )
    write_strip(record.folder / "images" / "nmr_camera.png", [_gray(found), _gray(target)])


def _mesh(path: str | None, device: torch.device) -> Mesh:
    """The recipe's mesh, mirrored in z."""
    return _mirrored(target_mesh(path).without_appearance()).to(device)


def _mirrored(mesh: Mesh) -> Mesh:
    """The mesh mirrored in z; its faces keep looking outward."""
    uvs = None if mesh.corner_uvs is None else mesh.corner_uvs.flip(1)
    vertices = mesh.vertices * mesh.vertices.new_tensor([1.0, 1.0, -1.0])
    return replace(mesh, vertices=vertices, faces=mesh.faces.flip(1), corner_uvs=uvs)


def _lit(points: Tensor, faces: Tensor, eye: Tensor) -> Tensor:
    """Gray of each face's corners (F,3,3): ambient light, and light from above by the cosine law.

    As there, a face has two sides, and the one that ``eye`` (3,) sees is lit.
    """
    normals = face_normals(points, faces)  # (F, 3)
    side = ((eye - points[faces[:, 0]]) * normals).sum(-1).sign()
    above = (side * normals[:, 1]).clamp(min=0)  # (F,)
    return (AMBIENT + DIRECTIONAL * above)[:, None, None].expand(-1, 3, 3)


def _gray(mask: Tensor) -> Tensor:
    """A mask (H,W) as a picture (H,W,3)."""
    return mask[..., None].expand(-1, -1, 3)


def _parallel(size: int, azimuth: float, away: float = 200.0) -> Cameras:
    """A camera so far away that its rays are all but parallel; the picture is 2 units wide."""
    lens = torch.tensor([away * size / 2, away * size / 2, size / 2, size / 2])
    return orbit_cameras(torch.tensor(away), torch.zeros(()), torch.tensor(math.radians(azimuth)), lens, size, size)
