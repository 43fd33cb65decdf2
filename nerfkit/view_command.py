"""``python -m nerfkit view RUN``: a run in a browser, its field and mesh drawn for the camera that one turns."""

import argparse
import contextlib
from collections.abc import Sequence

from nerfkit.errors import ConfigError
from nerfkit.pipeline import pick_device
from nerfkit.runs.folder import find
from nerfkit.viewer.run import open_run
from nerfkit.viewer.serving import HOST, PORT, address, check_port, serve, stop, viser_module
from nerfkit.viewer.viewer import Viewer

KEY = "--port "


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name, until Ctrl-C.

    Raises:
        CheckpointError: no run folder, a damaged one, or one with neither a field nor a mesh.
        ConfigError: no viser, a port that is taken, or no such device.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit view", description=__doc__)
    parser.add_argument(
        "run", metavar="RUN", help="OUTPUT/SCENE/DATE_TIME, or OUTPUT/SCENE/latest; it may be in training"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"of this machine alone ({HOST}); default: {PORT}")
    parser.add_argument("--side", type=int, default=1024, help="of the finished pictures, in pixels; default: 1024")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    asked = parser.parse_args(words)
    viser = viser_module("view")
    if asked.side < 1:
        raise ConfigError(f"--side {asked.side}: expected at least 1")
    check_port(asked.port, KEY)
    device = pick_device(asked.device)
    folder = find(asked.run)
    shown = open_run(folder, device)
    server = serve(viser, asked.port, KEY, shown.scene.name)
    try:
        viewer = Viewer(server, shown, lambda: open_run(folder, device), asked.side)
        print(address(asked.port, "Ctrl-C ends"), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            viewer.run()
    finally:
        stop(server)
