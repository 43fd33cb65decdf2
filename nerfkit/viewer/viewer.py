"""A run in a browser: clients' cameras in, pictures out, and what the controls do."""

import shlex
import time
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from nerfkit.errors import UserError, command
from nerfkit.runs.threads import set_threads
from nerfkit.viewer.box import CropBox, crop_command
from nerfkit.viewer.draw import Look, camera_of, draw
from nerfkit.viewer.keyframes import Keyframes
from nerfkit.viewer.pace import COARSEST, Pace, following, size_at
from nerfkit.viewer.panel import Panel
from nerfkit.viewer.run import Shown, state_of, thumbnails
from nerfkit.viewer.things import add_photos, add_region, add_triangles, begin_at
from nerfkit.viewer.worker import Interrupted, Worker

QUALITY = 90  # of JPEGs


class Viewer:
    """Serves one run.

    Args:
        server: viser's.
        shown: the run.
        reopen: opens it again.
        side: of the finished pictures, the longer one at most, in pixels.
        say: prints a line.
    """

    def __init__(
        self, server: Any, shown: Shown, reopen: Callable[[], Shown], side: int, say: Callable[[str], object] = print
    ) -> None:
        self.server, self.shown, self._reopen, self._side, self._say = server, shown, reopen, side, say
        self._paces: dict[Look, Pace] = {}
        self.worker = Worker(self.work, lambda: set_threads(None))
        scene = shown.scene
        begin_at(server, scene, (scene.test or scene.train)[0], shown.center)
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.request_share_url = lambda: None  # a client may ask for a tunnel to the internet: there is none
        self.panel = panel = Panel(server, list(shown.sources), shown.said, self.refresh)
        self._photos = add_photos(server, scene, thumbnails(shown.record.folder))
        self._region = add_region(server)
        self._region.visible = False
        self._triangles = None if shown.mesh is None else add_triangles(server, shown.mesh)
        self._crop = CropBox(server, self._crop_corners(), self._cropped)
        self._cropped(self._crop.corners)
        self.keyframes = Keyframes(server)
        panel.photos.on_update(lambda event: setattr(self._photos, "visible", event.target.value))
        panel.region.on_update(lambda event: setattr(self._region, "visible", event.target.value))
        panel.crop.on_update(lambda event: self._crop.show(event.target.value))
        panel.print_crop.on_click(lambda _: self._say(self._command))
        panel.add_keyframe.on_click(self._add_keyframe)
        panel.drop_keyframe.on_click(self._drop_keyframe)
        panel.save_path.on_click(self._save_path)
        self._show_triangles()
        server.on_client_connect(self._connect)
        server.on_client_disconnect(lambda client: self.worker.forget(client.client_id))

    def run(self) -> None:
        """Makes pictures until something goes wrong, or Ctrl-C."""
        self.worker.start()
        try:
            self.worker.watch(self.follow)
        finally:
            self.worker.close()

    def refresh(self) -> None:
        """New pictures for everybody."""
        self._show_triangles()
        for who in self.server.get_clients():
            self.worker.ask(who)

    def follow(self) -> None:
        """Reads the run again where it has gone on and somebody looks."""
        if not self.server.get_clients() or state_of(self.shown.record) == self.shown.state:
            return
        try:
            self.shown = self._reopen()
        except UserError as error:  # a file of it is just being replaced
            self._say(f"warning: {error}")
            return
        self.panel.offer(list(self.shown.sources), self.shown.said)
        if self.shown.mesh is not None:
            self._triangles = add_triangles(self.server, self.shown.mesh)
        self.refresh()

    def work(self, who: Hashable, level: int | None, interrupted: Interrupted) -> int | None:
        """One picture for a client, as ``Worker`` asks for it."""
        client, look = self.server.get_clients().get(who), self.panel.look
        if client is None:
            return None
        if look is None:
            client.scene.set_background_image(None)
            self.panel.say_picture("drawn by the browser")
            return None
        start = time.perf_counter()
        whole = camera_of(client.camera, self._side)
        pace = self._pace(look)
        if level is None:
            level = pace.first(whole.size)
        height, width = size_at(level, whole.size)
        expected = pace.expected(level, height * width)
        away = float(np.linalg.norm(self.shown.center - whole.positions[0].numpy()))
        span = max(away - self.shown.radius, 1e-3), away + self.shown.radius
        drawn = draw(self.shown.sources, whole.resized(height, width), look, span, expected, interrupted)
        if drawn is None:
            return level
        client.scene.set_background_image(drawn.pixels, format="jpeg", jpeg_quality=QUALITY, depth=drawn.depth)
        seconds = time.perf_counter() - start
        pace.record(level, height * width, seconds)
        self.panel.say_picture(f"{width} x {height} in {1000 * seconds:.0f} ms")
        return following(level)

    def _pace(self, look: Look) -> Pace:
        """What is known of such pictures; of the first ones, after the kernels are compiled or loaded."""
        kind = Look(look.source, look.channel)
        if kind not in self._paces:
            scene = self.shown.scene
            camera = scene.cameras[(scene.test or scene.train)[0]]
            small = camera.resized(*size_at(COARSEST, camera.size))
            draw(self.shown.sources, small, kind, (1.0, 2.0), 0.0, lambda: False)
            self._paces[kind] = Pace()
        return self._paces[kind]

    def _connect(self, client: Any) -> None:
        client.camera.on_update(lambda _: self.worker.ask(client.client_id))
        self.worker.ask(client.client_id)

    def _show_triangles(self) -> None:
        if self._triangles is not None:
            self._triangles.visible = self.panel.look is None

    def _crop_corners(self) -> np.ndarray:
        """The box that the run's mesh was cropped to, else the region, in normalized units."""
        scene = self.shown.scene
        own = self.shown.config.extract.crop() or scene.box
        if own is None:
            return np.array([[-1.0] * 3, [1.0] * 3])
        return np.array(own) * scene.normalization.scale + np.array(scene.normalization.translation)

    def _cropped(self, corners: np.ndarray) -> None:
        self._command = crop_command(self.shown.record.folder, corners, self.shown.scene.normalization)
        self.panel.say_crop(self._command)

    def _add_keyframe(self, event: Any) -> None:
        self.keyframes.add(camera_of(event.client.camera, self._side))
        self.panel.say_path(f"{len(self.keyframes)} keyframes")

    def _drop_keyframe(self, _: Any) -> None:
        self.keyframes.drop()
        self.panel.say_path(f"{len(self.keyframes)} keyframes")

    def _save_path(self, _: Any) -> None:
        if len(self.keyframes) < 2:
            self.panel.say_path("a path needs two keyframes")
            return
        folder = self.shown.record.folder
        path = self.keyframes.write(folder / "video", self.shown.scene.normalization)
        words = [f"run={folder}", "path=file", f"file={path}", "frames=null"]
        said = " ".join([command("render"), *map(shlex.quote, words)])
        self._say(said)
        self.panel.say_path(f"```\n{said}\n```")
