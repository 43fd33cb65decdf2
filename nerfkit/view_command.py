"""``python -m nerfkit view RUN``: a run in a browser, its field and mesh drawn for the camera that one turns."""

import argparse
import contextlib
import errno
import io
import socket
from collections.abc import Sequence
from typing import Any

from nerfkit.errors import ConfigError
from nerfkit.pipeline import pick_device
from nerfkit.viewer.run import open_run
from nerfkit.viewer.viewer import Viewer

HOST, PORT = "127.0.0.1", 8080


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
    viser = viser_module()
    if asked.side < 1:
        raise ConfigError(f"--side {asked.side}: expected at least 1")
    check_port(asked.port)
    device = pick_device(asked.device)
    shown = open_run(asked.run, device)
    with contextlib.redirect_stdout(io.StringIO()):  # a banner
        server = viser.ViserServer(host=HOST, port=asked.port, label=shown.scene.name)
    if server.get_port() != asked.port:  # it would take another one
        server.stop()
        raise taken(asked.port)
    try:
        viewer = Viewer(server, shown, lambda: open_run(shown.record.folder, device), asked.side)
        print(address(asked.port), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            viewer.run()
    finally:
        server.stop()


def viser_module() -> Any:
    """The package ``viser``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import viser
    except ImportError:
        raise ConfigError("view: it needs viser, which is not installed; pip install 'nerfkit[view]'") from None
    return viser


def check_port(port: int) -> None:
    """Whether the port can be listened at.

    Raises:
        ConfigError: another program does, or this one must not.
    """
    if not 0 < port < 1 << 16:
        raise ConfigError(f"--port {port}: expected 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: not in use, if only just left
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise taken(port) from None
            raise ConfigError(f"--port {port}: cannot be used ({error.strerror}); expected another one") from None


def taken(port: int) -> ConfigError:
    """The error for a port that another program listens at."""
    return ConfigError(f"--port {port}: another program listens there; expected a free one, such as {port % 65535 + 1}")


def address(port: int) -> str:
    """What a user opens, here and from another machine."""
    return (
        f"open http://localhost:{port} (Ctrl-C ends)\n"
        f"from another machine first: ssh -L {port}:localhost:{port} {socket.gethostname()}"
    )
