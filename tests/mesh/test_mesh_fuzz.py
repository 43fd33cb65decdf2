"""Garbage in: a finite result or one of the project's errors, never a hang, a crash or a NaN."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from mesh_shapes import quad, sphere

from nerfkit.cameras import Cameras, look_at
from nerfkit.errors import SceneError
from nerfkit.mesh.files.io import load_mesh, save_mesh
from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.mesh import Mesh, face_normals, vertex_normals
from nerfkit.mesh.repair import repair
from nerfkit.mesh.topology import topology_report
from nerfkit.raster.shade import render

FUZZ = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
BYTES = st.sampled_from(
    [b"", b"\n", b" ", b"0", b"-1", b"9999999999", b"nan", b"1e39", b"/", b"f 1 2 3\n", b"\x00", b"\xff"]
)


def attempt(make: Callable[[], Mesh]) -> tuple[Mesh | None, str]:
    """The mesh, or what the refusal says."""
    try:
        return make(), ""
    except SceneError as error:
        return None, str(error)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["obj", "ply", "glb", "stl"])
@FUZZ
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), BYTES), min_size=1, max_size=4))
def test_mutated_files_load_or_are_refused(tmp_path: Path, format: str, cuts: list[tuple[float, int, bytes]]) -> None:
    plain = quad()
    mesh = Mesh(plain.vertices, plain.faces, plain.corner_uvs if format != "ply" else None, plain.vertices)
    (path,) = save_mesh(mesh, tmp_path / "m", [format])
    content = path.read_bytes()
    for where, length, instead in cuts:
        at = int(where * len(content))
        content = content[:at] + instead + content[at + length :]
    path.write_bytes(content)
    loaded, message = attempt(lambda: load_mesh(path))
    if loaded is None:
        assert message.startswith(str(path))
        return
    topology_report(loaded)
    assert torch.isfinite(loaded.vertices).all()
    assert torch.isfinite(face_normals(loaded.vertices, loaded.faces)).all()


SHAPES = st.sampled_from(
    [(), (3,), (4, 3), (5, 3), (4, 4), (0, 3), (4, 3, 2), (2, 3, 2), (0, 0, 3), (2, 2, 3), (2, 2, 4)]
)
TENSORS = st.one_of(
    st.builds(
        lambda shape, dtype, value: torch.full(shape, value).to(dtype),
        SHAPES,
        st.sampled_from([torch.float32, torch.float64, torch.int64, torch.int32, torch.bool]),
        st.sampled_from([0.0, 1.0, 3.0, -1.0, 1e20, float("nan"), float("inf")]),
    ),
    st.sampled_from([None, [[0, 1, 2]], quad().vertices, quad().faces, quad().corner_uvs]),
)


@FUZZ
@given(TENSORS, TENSORS, TENSORS, TENSORS, TENSORS)
def test_mesh_takes_what_fits_and_refuses_the_rest(vertices, faces, uvs, colors, texture) -> None:  # type: ignore[no-untyped-def]
    for given_vertices, given_faces in ((vertices, faces), (quad().vertices, faces), (quad().vertices, quad().faces)):
        mesh, message = attempt(lambda v=given_vertices, f=given_faces: Mesh(v, f, uvs, colors, texture))
        if mesh is None:
            assert message.startswith("mesh: ")
            continue
        assert mesh.faces.numel() == 0 or int(mesh.faces.max()) < len(mesh.vertices)
        repaired, _ = repair(mesh)
        assert topology_report(repaired).manifold
        self_intersections(repaired)


def garbage(seed: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random faces over random vertices: slivers, doubles, behind the camera, through its plane, huge and tiny."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(9, 3, generator=generator)
    faces = torch.randint(0, 9, (14, 3), generator=generator)
    if kind == "lattice":
        vertices = vertices.round()
    elif kind == "flat":
        vertices[:, seed % 3] = 0
    elif kind == "tiny":
        vertices *= 1e-20
    elif kind == "huge":
        vertices *= 10.0 ** torch.randint(3, 18, (9, 1), generator=generator)
    elif kind == "behind":
        vertices[:, 2] += 4
    elif kind == "at the camera":
        vertices[:4] = torch.tensor([0.0, 0, 3])
    elif kind == "point":
        vertices[:] = vertices[0]
    return vertices, faces


@pytest.mark.parametrize("kind", ["any", "lattice", "flat", "tiny", "huge", "behind", "at the camera", "point"])
@settings(FUZZ, max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_pictures_and_gradients_of_garbage_are_finite(kind: str, seed: int) -> None:
    vertices, faces = garbage(seed, kind)
    pose = look_at(torch.tensor([[0.0, 0, 3]]), torch.zeros(3), torch.tensor([0.0, 1, 0]))
    cameras = Cameras(pose, torch.tensor([[12.0, 12, 6, 6]]), 12, 12)
    vertices.requires_grad_()
    colors = torch.rand(9, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    picture = render(vertices, faces, cameras, colors=colors)
    shaded = vertex_normals(vertices, faces).sum() + picture.fragments.depth.sum()
    for image in (picture.rgb, picture.alpha):
        assert torch.isfinite(image).all()
        assert image.min() >= -1e-5
        assert image.max() <= 1 + 1e-5
    loss = picture.rgb.square().sum() + picture.alpha.square().sum() + shaded
    for gradient in torch.autograd.grad(loss, (vertices, colors)):
        assert torch.isfinite(gradient).all()


def test_a_mesh_without_faces_renders_nothing() -> None:
    pose = look_at(torch.tensor([[0.0, 0, 3]]), torch.zeros(3), torch.tensor([0.0, 1, 0]))
    cameras = Cameras(pose, torch.tensor([[12.0, 12, 6, 6]]), 12, 12)
    for vertices in (torch.zeros(0, 3), sphere(0).vertices):
        picture = render(vertices, torch.zeros(0, 3, dtype=torch.int64), cameras)
        assert picture.alpha.abs().max() == 0
