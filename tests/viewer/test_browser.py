"""The viewer in a real browser: what is to be seen, where it is to be seen, and what a click does."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerfkit.cameras import Cameras
from nerfkit.mesh.shapes import icosphere
from nerfkit.raster.shade import MeshSource
from nerfkit.resume import load
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene
from nerfkit.viewer.box import own_box
from nerfkit.viewer.serving import free_port
from tests.viewer.browser import CHROMIUM, NO_CHROMIUM, Page, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    pytest.mark.skipif(find_spec("viser") is None, reason="no viser here: pip install 'nerfkit[view]'"),
]

WIDTH, HEIGHT = 1000, 600
FREE = 600  # columns that the controls do not cover
ARROW = 120, 216, 155  # color of viser's handles along y


@contextmanager
def viewing(record: Run, folder: Path) -> Iterator[Page]:
    """A page of ``python -m nerfkit view``."""
    port = free_port()
    words = [sys.executable, "-m", "nerfkit", "view", str(record.folder), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None and f"http://localhost:{port}" in server.stdout.readline()
            with browser(f"http://127.0.0.1:{port}", folder / "profile", (WIDTH, HEIGHT)) as page:
                yield page
        finally:
            server.terminate()


def camera_at(scene: Scene, view: int) -> Cameras:
    """The camera of a window that shows as much from top to bottom as a photo does."""
    focal = HEIGHT / scene.cameras.sizes[view][0] * float(scene.cameras.intrinsics[view, 1])
    lens = torch.tensor([[focal, focal, WIDTH / 2, HEIGHT / 2]])
    return Cameras(scene.cameras.camera_to_world[[view]], lens, HEIGHT, WIDTH)


def bounds(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """First and last row and column of what is set, of the free part; zeros where nothing is."""
    rows, columns = mask[:, :FREE].nonzero()
    return (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) if len(rows) else (0, 0, 0, 0)


def red(page: Page) -> NDArray[np.bool_]:
    """Where the page shows the run's ball."""
    seen = page.picture().astype(np.int32)
    return (seen[..., 0] > 180) & (seen[..., 1:].max(-1) < 80)


def at(page: Page, expected: tuple[int, ...]) -> Callable[[], bool]:
    """Whether what is red lies where it is expected, to 4 pixels."""
    return lambda: bool(max(np.abs(np.subtract(bounds(red(page)), expected))) < 5)


def tip(page: Page) -> tuple[int, int] | None:
    """Where the arrow of the crop box's lower handle ends that points up, in the lower half of the picture."""
    seen = page.picture().astype(np.int32)[HEIGHT // 2 :, :FREE]
    rows, columns = (np.abs(seen - ARROW).max(-1) < 5).nonzero()
    return (int(columns[0]), HEIGHT // 2 + int(rows[0]) + 5) if len(rows) else None


def test_a_browser_shows_the_run_a_photo_and_the_crop(record: Run, scene: Scene, tmp_path: Path) -> None:
    start = camera_at(scene, scene.test[0])
    ball = MeshSource(icosphere(2, 0.7), (0, 0, 0))
    outline = bounds(ball.render(start, 0, ["alpha"])["alpha"].numpy() > 0.5)
    places = start.project(scene.cameras.positions)[0][0]  # (N, 2)
    view = next(v for v in range(len(places)) if 60 < places[v, 0] < FREE and 150 < places[v, 1] < HEIGHT - 20)
    whole = own_box(np.array([[-1.0] * 3, [1.0] * 3]), scene.normalization)
    with viewing(record, tmp_path) as page:
        page.until(at(page, outline))
        page.click(*places[view].tolist())
        page.until(lambda: "photo | picture" in page.text())
        there = bounds(ball.render(camera_at(scene, view), 0, ["alpha"])["alpha"].numpy() > 0.5)
        # The left half is the photo now, of a sphere of other colors.
        page.until(at(page, (there[0], there[1], WIDTH // 2, there[3])))
        photo = page.picture()[HEIGHT // 2 - 20 : HEIGHT // 2 + 20, WIDTH // 2 - 60 : WIDTH // 2 - 20]
        assert photo.max() > 60 and not red(page)[HEIGHT // 2, : WIDTH // 2 - 4].any()
        page.choose("mesh", "triangles")
        page.until(lambda: "drawn by the browser" in page.text())
        page.press("crop")
        page.tick()
        for _ in range(8):
            page.wheel(300, 300, 120)
        x, y = page.until(lambda: tip(page))
        page.drag((x, y), (x, y - 60))
        page.press("write to the run")
        page.until(lambda: "written to config.yaml" in page.text())
    box = load(record.folder).extract.crop()
    assert box is not None and box[0][1] > whole[0][1] + 1
    assert [*map(list, box)] == [[whole[0][0], box[0][1], whole[0][2]], whole[1]]
