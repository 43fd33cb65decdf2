"""A run in a browser: clients' cameras in, pictures out."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from nerfkit.errors import UserError
from nerfkit.fit.build import load_scene
from nerfkit.runs.threads import set_threads
from nerfkit.viewer.draw import Look, camera_of, draw
from nerfkit.viewer.pace import COARSEST, Pace, following, size_at
from nerfkit.viewer.panel import Panel
from nerfkit.viewer.photo import Album
from nerfkit.viewer.run import Shown, state_of, thumbnails
from nerfkit.viewer.things import Frusta, add_region, add_triangles, begin_at, stand
from nerfkit.viewer.tools import CropTool, PathTool
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
        prepare: called first in the thread that makes the pictures.
    """

    def __init__(
        self,
        server: Any,
        shown: Shown,
        reopen: Callable[[], Shown],
        side: int,
        say: Callable[[str], object] = print,
        prepare: Callable[[], object] = lambda: set_threads(None),
    ) -> None:
        self.server, self.shown, self._reopen, self._side, self._say = server, shown, reopen, side, say
        self._album = Album(None if shown.recorded else shown.scene)
        self._paces: dict[Look, Pace] = {}
        self.worker = Worker(self.work, prepare)
        scene = shown.scene
        begin_at(server, scene, (scene.test or scene.train)[0], shown.center)
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.request_share_url = lambda: None  # a client may ask for a tunnel to the internet: there is none
        self.panel = panel = Panel(server, list(shown.sources), shown.mesh is not None, shown.said, self.refresh)
        self._photos = Frusta(server, scene, thumbnails(shown), self._at_photo)
        self._region = add_region(server)
        self._region.visible = False
        self._triangles = None if shown.mesh is None else add_triangles(server, shown.mesh)
        if shown.record is not None and shown.config is not None and shown.config.recipe is None:
            CropTool(server, shown.record.folder, shown.config, scene, say)
            PathTool(server, shown.record.folder, scene, side, say)
        panel.photos.on_update(lambda event: setattr(self._photos.root, "visible", event.target.value))
        panel.region.on_update(lambda event: setattr(self._region, "visible", event.target.value))
        self._show_triangles()
        server.on_client_connect(self._connect)
        server.on_client_disconnect(self._disconnect)

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
        record = self.shown.record
        if record is None or not self.server.get_clients():
            return
        try:
            if state_of(record) != self.shown.state:
                self.show(self._reopen())
        except (UserError, FileNotFoundError) as error:  # a file of it is just being replaced
            self._say(f"warning: {error}")

    def show(self, shown: Shown) -> None:
        """Shows the same run in another state."""
        self.shown = shown
        if shown.mesh is not None:
            self._triangles = add_triangles(self.server, shown.mesh)
        self.offer()
        self.refresh()

    def offer(self) -> None:
        """Lets users choose among what there is to be seen now."""
        self.panel.offer(list(self.shown.sources), self.shown.mesh is not None)
        self.panel.say(self.shown.said)

    def work(self, who: Hashable, level: int | None, interrupted: Interrupted) -> int | None:
        """One picture for a client, as ``Worker`` asks for it."""
        client, look = self.server.get_clients().get(who), self.panel.look
        if client is None:
            self.worker.forget(who)  # its last message came after it was gone
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
        camera, photo, cameras = whole.resized(height, width), None, self.shown.scene.cameras
        view = self._album.at(who, client.camera, self.shown.scene)
        if view is not None:
            photo = self._album.framed(view, cameras, client.camera, (height, width))
            camera = camera if photo is None else photo.camera
        drawn = draw(self.shown.sources, camera, look, span, expected, interrupted, photo)
        if drawn is None:
            return level
        if who not in self.server.get_clients():  # it has left meanwhile: viser would warn
            return None
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
        client.camera.on_update(lambda _: self._moved(client))
        self._moved(client)

    def _moved(self, client: Any) -> None:
        self._photos.make_way(client.camera.position, client.camera.fov)
        self.worker.ask(client.client_id)

    def _disconnect(self, client: Any) -> None:
        self.worker.forget(client.client_id)
        self._album.forget(client.client_id)

    def _at_photo(self, client: Any, view: int) -> None:
        stand(client, self.shown.scene, view, self.shown.center)
        if self._album.scene is None:
            try:
                self._album.scene = load_scene(self.shown.config)
            except UserError as error:
                self._say(f"warning: no photos: {error}")
        self._album.put(client.client_id, view)
        self.panel.slide_photos()
        self.worker.ask(client.client_id)

    def _show_triangles(self) -> None:
        if self._triangles is not None:
            self._triangles.visible = self.panel.look is None
