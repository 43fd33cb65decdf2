"""The parts of refinement: its terms, the field's depth, remeshing on the way, untangling."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nerfkit.fit.refine import refine_mesh
from nerfkit.fit.refine_phases import Colored
from nerfkit.fit.refine_targets import DepthTargets, Shape, Targets, field_depth
from nerfkit.fit.refine_untangle import untangle
from nerfkit.kernels.composite import Rendered
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.losses import Topology, edge_length, laplacian
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import topology_report
from nerfkit.raster import rasterize, render
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel
from tests.fit.test_refine import ball, options, scene as scene

OPTIONS = SimpleNamespace(laplacian_weight=1.0, normal_weight=1.0, edge_weight=1.0)


def test_shape_terms_of_an_even_mesh_are_the_plain_losses() -> None:
    octahedron = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    ring = [(0, 2), (2, 1), (1, 3), (3, 0)]
    faces = torch.tensor([[a, b, 4] for a, b in ring] + [[b, a, 5] for a, b in ring])
    shape, topology = Shape(octahedron, faces), Topology.of(faces, 6)
    edge = 2**0.5
    moved = octahedron + 0.1 * torch.sin(torch.arange(18.0)).view(6, 3)
    terms = shape.terms(moved, OPTIONS)  # type: ignore[arg-type]
    assert terms["laplacian"].item() == pytest.approx(laplacian(moved, topology).item() / edge**2, rel=1e-5)
    assert terms["edge"].item() == pytest.approx(edge_length(moved, topology, edge).item() / edge**2, rel=1e-4)
    assert shape.terms(octahedron, OPTIONS)["edge"].item() == pytest.approx(0, abs=1e-10)  # type: ignore[arg-type]


def test_shape_terms_do_not_ask_fine_parts_to_grow() -> None:
    mesh = ball((1.0, 1.0, 0.05), 2)  # edges of very different lengths
    shape = Shape(mesh.vertices, mesh.faces)
    assert shape.terms(mesh.vertices, OPTIONS)["edge"].item() == pytest.approx(0, abs=1e-10)  # type: ignore[arg-type]


def sphere_depth(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Distance along rays to the ball of radius 0.5 around the origin, and whether they meet it."""
    along = (origins * directions).sum(-1)
    root = along**2 - (origins**2).sum(-1) + 0.25
    return -along - root.clamp(min=0).sqrt(), (root > 0).float()


class BallModel(RadianceModel):
    """Renders the ball of ``sphere_depth``, almost opaque."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def render_rays(self, origins: Tensor, directions: Tensor, *_: object, **__: object) -> tuple[Rendered, int]:
        distance, hit = sphere_depth(origins, directions)
        return Rendered(torch.zeros(len(hit), 3), 0.97 * hit, 0.97 * hit * distance), 0


def test_the_field_s_depth_is_along_the_camera_s_axis(scene: Scene) -> None:
    found = field_depth(BallModel(), scene)
    true = ball((0.5, 0.5, 0.5), 4)
    for view in scene.train:
        assert len(found.pixel[view]) > 20
        fragments = rasterize(true.vertices, true.faces, scene.cameras[view])
        depth = fragments.depth.flatten()[found.pixel[view]]
        seen = depth > 0
        difference = (depth - found.depth[view])[seen]
        assert difference.abs().max() < 6e-3 and 0 <= difference.median() < 2e-3, "facets lie inside of the ball"
        assert (scene.images[view][..., 3].flatten()[found.pixel[view]] == 255).all()
    assert set(found.pixel) == set(scene.train)


def test_depth_counts_but_for_its_median(scene: Scene) -> None:
    mesh, view = ball((0.8, 0.5, 0.6)), scene.train[0]
    rendering = render(mesh.vertices, mesh.faces, scene.cameras[[view]], colors=mesh.colors)
    pixel = rendering.fragments.covered[0].flatten().nonzero()[:, 0]
    depth = rendering.fragments.depth[0].flatten()[pixel]

    def term(wanted: Tensor) -> float:
        targets = Targets(scene, options(depth_weight=2.0), 0, DepthTargets({view: pixel}, {view: wanted}))
        term = targets.wanted.terms(rendering, targets.look([view]), 0.1)["depth"]
        return (term.top / term.bottom).item()

    assert term(depth + 0.07) == pytest.approx(0, abs=1e-4), "light goes some way into a field"
    some = torch.zeros(len(depth))
    some[::4] = 0.05
    assert term(depth + some) == pytest.approx(2.0 * 0.5 * some.count_nonzero().item() / len(depth), rel=1e-3)
    some[::4] = 5.0
    assert term(depth + some) == pytest.approx(2.0 * some.count_nonzero().item() / len(depth), rel=1e-3)


@pytest.mark.slow
def test_remeshing_keeps_shape_colors_and_moments(scene: Scene) -> None:
    start = ball((0.8, 0.5, 0.6))
    phase = Colored(start, Targets(scene, options(), 0), options(), "contour")
    phase.step(1.0)
    before = phase.vertex_optimizer.moments()
    phase.remesh(600)
    mesh = phase.mesh()
    assert abs(len(mesh.faces) / 600 - 1) < 0.05
    assert mesh.colors is not None
    assert topology_report(mesh).genus == 0
    assert (((mesh.vertices / torch.tensor([0.8, 0.5, 0.6])).norm(dim=-1) - 1).abs() < 0.1).all()
    expected = 0.5 + 0.4 * torch.sin(3 * mesh.vertices / torch.tensor([0.8, 0.5, 0.6]))
    assert (mesh.colors - expected).abs().mean() < 0.05
    after = phase.vertex_optimizer.moments()
    assert after.shape == (len(mesh.vertices), 6)
    share = len(before) / len(after)  # fewer vertices, each with more of the surface's gradient
    largest = before[:, 3:].max() * share**2
    assert 0.1 * largest < after[:, 3:].max() <= largest * 1.001
    assert set(phase.color_optimizer.state[phase.colors]) == {"step", "exp_avg", "exp_avg_sq"}
    phase.step(1.0)


@pytest.mark.slow
def test_both_phases_meet_the_face_budget(scene: Scene) -> None:
    start = ball((0.7, 0.6, 0.6))
    refined = refine_mesh(start, scene, options(steps=12, geometry=0.5, remesh=2, faces=500))
    assert abs(len(refined.faces) / 500 - 1) < 0.05
    assert refined.texture is not None
    assert refined.colors is None
    report = topology_report(refined)
    assert report.watertight and report.genus == 0


def tangled() -> Mesh:
    """A ball of which one vertex was pushed through the other side."""
    plain = ball((1.0, 1.0, 1.0), 2)
    vertices = plain.vertices.clone()
    vertices[0] *= -1.3
    return replace(plain, vertices=vertices)


def test_untangling_smooths_only_where_faces_intersect() -> None:
    mesh = tangled()
    assert len(self_intersections(mesh)) > 0
    better, left = untangle(mesh)
    assert left == len(self_intersections(better)) == 0
    assert torch.equal(better.faces, mesh.faces)
    moved = (better.vertices != mesh.vertices).any(-1)
    assert 0 < moved.sum() < len(moved) / 2


def test_untangling_leaves_what_is_allowed() -> None:
    mesh = tangled()
    count = len(self_intersections(mesh))
    same, left = untangle(mesh, allowed=count)
    assert same is mesh and left == count
