"""viser and the port that it listens at, of this machine alone."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

from nerfkit.config import TrainOptions
from nerfkit.errors import ConfigError

HOST, PORT = "127.0.0.1", TrainOptions.viewer_port


def viser_module(asked: str) -> Any:
    """The package ``viser``.

    Raises:
        ConfigError: it is not installed; the message says what ``asked`` for it.
    """
    try:
        import viser
    except ImportError:
        raise ConfigError(f"{asked}: it needs viser, which is not installed; pip install 'nerfkit[view]'") from None
    return viser


def check_port(port: int, key: str) -> None:
    """Whether the port can be listened at; ``key`` is how the user said which, such as ``--port``.

    Raises:
        ConfigError: another program does, or this one must not.
    """
    said = f"{key}{port}"
    if not 0 < port < 1 << 16:
        raise ConfigError(f"{said}: expected 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: not in use, if only just left
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(port, key) from None
            raise ConfigError(f"{said}: cannot be used ({error.strerror}); expected another one") from None


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def serve(viser: Any, port: int, key: str, name: str) -> Any:
    """viser's server at the port; ``name`` is what browsers call it.

    Raises:
        ConfigError: another program listens there.
    """
    with _unsaid():
        server = viser.ViserServer(host=HOST, port=port, label=name, verbose=False)
    if server.get_port() != port:  # it would take another one
        stop(server)
        raise _taken(port, key)
    return server


def stop(server: Any) -> None:
    """Ends viser's server."""
    with _unsaid():
        server.stop()


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """A block without what viser says by rich, a banner among it, which in notebooks goes past stdout."""
    try:
        from rich import get_console
    except ImportError:  # no dependency of ours
        yield
        return
    console = get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet


def address(port: int, end: str) -> str:
    """What a user opens, here and from another machine; ``end`` says what ends it."""
    return (
        f"open http://localhost:{port} ({end})\n"
        f"from another machine first: ssh -L {port}:localhost:{port} {socket.gethostname()}"
    )


def _taken(port: int, key: str) -> ConfigError:
    return ConfigError(f"{key}{port}: another program listens there; expected a free one, such as {port % 65535 + 1}")
