"""A run in a browser while it is made: pictures of what its fits have, drawn between two of their steps.

They are drawn in the fit's own thread, of the weights that it trains: nothing is copied or saved, nothing runs beside a
step, and what is drawn changes nothing, so that the run has the same bits as one that nobody looks at.
"""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nerfkit.config import TrainOptions
from nerfkit.errors import UserError
from nerfkit.mesh.mesh import Mesh
from nerfkit.runs.audience import Audience
from nerfkit.runs.folder import Run
from nerfkit.runs.threads import set_threads
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import Source
from nerfkit.viewer.run import Shown, open_run, seen, state_of, without_photos
from nerfkit.viewer.serving import address, check_port, serve, stop, viser_module
from nerfkit.viewer.viewer import Viewer
from nerfkit.volume.model import FieldSource

KEY = "viewer_port="
SIDE = 1024  # of the finished pictures
RESTS = {"finer": 1.0, "again": 9.0}
"""Seconds of training before the next picture of a camera that stands still, as multiples of what the last one took."""


def check_viewer(config: TrainOptions) -> None:
    """Whether the run can be looked at as its config says.

    Raises:
        ConfigError: there is no viser, or the port is taken.
    """
    if config.viewer != "off":
        viser_module(f"viewer={config.viewer}")
        check_port(config.viewer_port, KEY)


@contextlib.contextmanager
def watched(record: Run, config: TrainOptions, device: torch.device) -> Iterator[None]:
    """A block in which the run is made and browsers may look, if ``config.viewer`` says so; after it, with ``stay``."""
    if config.viewer == "off":
        yield
        return
    onlookers = Onlookers(record, config, device)
    record.audience = onlookers
    try:
        yield
        if config.viewer == "stay":
            onlookers.stay()
    finally:
        onlookers.close()


class Onlookers(Audience):
    """The browsers that look at a run in the making. The server starts when there is something to be seen.

    Args:
        record: the run.
        config: its port among it.
        device: that draws.
    """

    def __init__(self, record: Run, config: TrainOptions, device: torch.device) -> None:
        self.record, self.config, self.device = record, config, device
        self._made: dict[str, Callable[[], Any]] = {}
        self._server: Any = None
        self._viewer: Viewer | None = None
        self._failed = False
        self._took = self._ended = 0.0

    def shows(self, name: str, made: Callable[[], Any], seen_from: Any = None) -> None:
        """See ``Audience``; what is seen first decides from where."""
        self._made[name] = made
        with self._kept_going():
            if self._viewer is not None:
                self._viewer.shown = replace(self._viewer.shown, sources=self._sources())
                self._viewer.offer()
            elif not self._failed and seen_from is not None:
                self._open(seen_from)

    def _open(self, seen_from: Any) -> None:
        """Starts the server."""
        scene = seen_from if isinstance(seen_from, Scene) else without_photos(seen_from, self.record.folder.parent.name)
        center, state = np.zeros(3), state_of(self.record)
        shown = Shown(self.record, self.config, scene, self._sources(scene), None, state, center, 1.0, "in training")
        port = self.config.viewer_port
        self._server = serve(viser_module(f"viewer={self.config.viewer}"), port, KEY, scene.name)
        threads = self.config.threads
        self._viewer = Viewer(
            self._server, shown, self._reopened, SIDE, self.record.log, prepare=lambda: set_threads(threads)
        )
        for line in address(port, "it ends with the run" if self.config.viewer == "on" else "it stays").splitlines():
            self.record.log(line)

    def turn(self, title: str, step: int) -> bool:
        """Draws a picture if one is due: the first one after a move at once, others as ``RESTS`` says."""
        viewer = self._viewer
        if viewer is None or not viewer.worker.watched:
            return False
        start = time.perf_counter()
        rested = start - self._ended
        if rested >= RESTS["again"] * self._took:
            viewer.worker.renew()
        if not viewer.worker.waits(rested >= RESTS["finer"] * self._took):
            return False
        with self._kept_going():
            said = f"{title}: step {step}"
            viewer.shown = replace(viewer.shown, sources=self._sources(), said=said)
            viewer.panel.say(said)
            viewer.worker.take()
        self._ended = time.perf_counter()
        self._took = self._ended - start
        return True

    def stay(self) -> None:
        """Shows what the run has made until Ctrl-C."""
        if self._viewer is None:
            return
        self.record.log("the run is done; the viewer stays until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt), self._kept_going():
            with contextlib.suppress(UserError):  # stages that leave nothing to open: what was seen last stays
                self._viewer.show(self._reopened())
            self._viewer.run()

    def close(self) -> None:
        """Ends the server."""
        server, self._server, self._viewer = self._server, None, None
        if server is not None:
            stop(server)

    @contextlib.contextmanager
    def _kept_going(self) -> Iterator[None]:
        """A block whose errors end the viewer alone: hours of training are worth more than a picture."""
        try:
            yield
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else f"\n{traceback.format_exc()}"
            self.record.log(f"warning: the viewer has failed and is off: {said}")
            self._failed = True
            self.close()

    def _reopened(self) -> Shown:
        assert self._viewer is not None
        if self.config.recipe is None:
            return open_run(self.record.folder, self.device)
        sources = self._sources()
        return replace(self._viewer.shown, sources=sources, state=state_of(self.record), said="done")

    def _sources(self, scene: Scene | None = None) -> dict[str, Source]:
        """What there is to be seen, as it is now."""
        if scene is None:
            assert self._viewer is not None
            scene = self._viewer.shown.scene
        found: dict[str, Source] = {}
        for name, made in self._made.items():
            thing = made()
            found[name] = (
                seen(thing.to(self.device), scene.background)
                if isinstance(thing, Mesh)
                else FieldSource(thing, scene.background)
            )
        return found
