"""What stands in the browser's scene: photos as frusta, the region, the mesh as triangles. Normalized units.

``server`` is viser's, here and elsewhere in this package; https://viser.studio documents its calls.
"""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.mesh.files.io import save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes.scene import Scene
from nerfkit.scenes.writers import quaternion

PHOTOS = 200  # that are shown
COLOR, HELD_OUT, REGION, GRAY = (70, 90, 130), (230, 120, 20), (150, 150, 150), (180, 180, 180)
SIZE = 0.12  # of a frustum
COVERED = 0.15  # of the height of a picture by a frustum


def pose_of(scene: Scene, view: int) -> tuple[NDArray, NDArray, float]:
    """``wxyz`` (4,) with OpenCV's axes, position (3,) and vertical field of view of a photo's camera."""
    pose = scene.cameras.camera_to_world[view].double().numpy()
    height = scene.cameras.sizes[view][0]
    fov = 2 * math.atan(height / 2 / float(scene.cameras.intrinsics[view, 1]))
    return quaternion(pose[:, :3] * np.array([1.0, -1, -1])), pose[:, 3], fov


class Frusta:
    """The photos' cameras, held-out ones in orange.

    Args:
        scene: whose cameras they are; those without a photo are left out.
        thumbnail: a small photo of a view, where there is one.
        clicked: told of the client that clicks one, and of its view.

    Attributes:
        root: the node that they hang on.
    """

    def __init__(
        self,
        server: Any,
        scene: Scene,
        thumbnail: Callable[[int], NDArray[np.uint8] | None],
        clicked: Callable[[Any, int], object],
    ) -> None:
        self.root = server.scene.add_frame("/photos", show_axes=False)
        views = [view for view in (*scene.train, *scene.test) if view < len(scene.images)]
        some = {views[k] for k in np.linspace(0, len(views) - 1, min(len(views), PHOTOS)).round().astype(int)}
        self._nodes: list[Any] = []
        for view in sorted(some):
            wxyz, position, fov = pose_of(scene, view)
            height, width = scene.cameras.sizes[view]
            frustum = server.scene.add_camera_frustum(
                f"/photos/{view}",
                fov,
                width / height,
                scale=SIZE,
                thickness=1.5,
                thickness_units="screen",
                color=HELD_OUT if view in scene.test else COLOR,
                image=thumbnail(view),
                wxyz=wxyz,
                position=position,
            )

            def go(event: Any, view: int = view) -> None:
                clicked(event.client, view)

            frustum.on_click(go)
            self._nodes.append(frustum)
        self._positions = scene.cameras.positions[sorted(some)].numpy()  # (P, 3)

    def make_way(self, position: NDArray, fov: float) -> None:
        """Hides those that would fill more than ``COVERED`` of the picture of a camera at ``position``."""
        away = np.linalg.norm(self._positions - position, axis=-1)
        for node, visible in zip(self._nodes, (away * COVERED * fov > SIZE).tolist(), strict=True):
            if node.visible != visible:
                node.visible = visible


def stand(client: Any, scene: Scene, view: int, center: NDArray) -> None:
    """Puts a client's camera where a photo's was, with its field of view; it turns as ``begin_at`` says."""
    wxyz, position, fov = pose_of(scene, view)
    with client.atomic():
        client.camera.wxyz, client.camera.position, client.camera.fov = wxyz, position, fov
        client.camera.look_at = _pivot(scene, view, center)


def begin_at(server: Any, scene: Scene, view: int, center: NDArray) -> None:
    """A new client's camera is a photo's, and turns about the point of its axis next to ``center``."""
    _, position, fov = pose_of(scene, view)
    server.scene.set_up_direction(tuple(scene.up))
    first = server.initial_camera
    first.position, first.look_at, first.up = position, _pivot(scene, view, center), tuple(scene.up)
    first.fov = fov


def _pivot(scene: Scene, view: int, center: NDArray) -> NDArray:
    """The point of a photo's axis next to ``center``, (3,)."""
    pose = scene.cameras.camera_to_world[view].double().numpy()
    position, forward = pose[:, 3], -pose[:, 2]
    return position + max(float((center - position) @ forward), 1e-3) * forward


def edges(low: NDArray, high: NDArray) -> NDArray[np.float32]:
    """The twelve edges of a box, (12,2,3)."""
    corners = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])  # (8, 3)
    pairs = [(i, i | 1 << axis) for i in range(8) for axis in range(3) if not i >> axis & 1]
    return (low + corners[np.array(pairs)] * (high - low)).astype(np.float32)


def add_region(server: Any) -> Any:
    """The cube [-1,1]^3, where the field is known."""
    cube = edges(-np.ones(3), np.ones(3))
    return server.scene.add_line_segments("/region", cube, REGION, thickness=1.0, thickness_units="screen")


def add_triangles(server: Any, mesh: Mesh) -> Any:
    """The mesh, drawn by the browser: in its own colors, or lit where it has none; highlights are left out."""
    mesh = mesh.to("cpu")
    if mesh.texture is None and mesh.colors is None:
        return server.scene.add_mesh_simple("/mesh", mesh.vertices.numpy(), mesh.faces.numpy(), color=GRAY)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = save_mesh(mesh, Path(folder) / "mesh", ("glb",))
        return server.scene.add_glb("/mesh", path.read_bytes())
