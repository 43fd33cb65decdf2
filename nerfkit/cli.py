"""The commands ``train.py`` and ``render.py``: check the words, let Hydra compose, call the pipeline.

Exit codes: 0 done; 1 a fit that diverged, or a bug, with its traceback; 2 bad input or a full disk, with one message;
130 stopped by Ctrl-C.
"""

import contextlib
import errno
import sys
import threading
from collections.abc import Callable, Iterator

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from nerfkit import options, resume
from nerfkit.errors import ConfigError, UserError
from nerfkit.runs.folder import check_output, find


def train() -> None:
    """``python train.py KEY=VALUE ...``: every stage of a run, or with ``resume=RUN`` the rest of one."""
    _command("train", _train)


def render() -> None:
    """``python render.py run=RUN KEY=VALUE ...``: videos of a trained run."""
    _command("render", _render)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what the user can fix into one line and exit code 2, and Ctrl-C into 130."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if not _disk_full(error):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _fail(f"the disk is full{where}; free some space, or choose another disk with output=FOLDER")
    except FloatingPointError as error:  # a fit that diverged: nothing is wrong with the program or its input
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        sys.exit(130)


def _command(name: str, task: Callable[[DictConfig], None]) -> None:
    """Checks the command line as a whole, before Hydra or a stage does anything, and hands it to Hydra."""
    threading.excepthook = _thread_failed
    arguments = get_args_parser().parse_args()
    with exit_codes():
        if not (arguments.help or arguments.hydra_help or arguments.shell_completion or arguments.info):
            words: list[str] = arguments.overrides
            if name == "train" and any(word.startswith("resume=") and word != "resume=null" for word in words):
                return _resume(words, show=arguments.cfg is not None)
            for job in options.expand(words) if arguments.multirun else [words]:
                output = options.compose(name, job).output
                if output is not None and arguments.cfg is None:
                    check_output(output)
        if name == "train":
            # Beside the other words, which the parser takes only in one piece: flags stand before or after them.
            words = arguments.overrides
            first = sys.argv.index(words[0], 1) if words else len(sys.argv)
            sys.argv[first : first + len(words)] = options.with_preset(words)
        hydra.main(version_base="1.3", config_path="pkg://nerfkit.conf", config_name=name)(task)()


def _resume(words: list[str], show: bool) -> None:
    """Goes on with a run. Its own config takes the place of what Hydra would compose; ``show`` prints it instead."""
    folder = next(word.split("=", 1)[1] for word in words if word.startswith("resume="))
    config = resume.resumed(find(folder), words)
    if show:
        print(OmegaConf.to_yaml(config), end="")
    else:
        _train(config)


def _train(config: DictConfig) -> None:
    with exit_codes():
        from nerfkit import pipeline  # it imports everything; `--help` and a mistyped key need not wait for that

        pipeline.run(config)


def _render(config: DictConfig) -> None:
    with exit_codes():
        if config.run is None:
            raise ConfigError("run: which run? Expected run=OUTPUT/SCENE/DATE_TIME or run=OUTPUT/SCENE/latest")
        find(config.run)
        from nerfkit import pipeline

        pipeline.render(config)


def _disk_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread meets a full disk and passes the error on to the next write: that one message is enough."""
    if not _disk_full(arguments.exc_value):
        threading.__excepthook__(arguments)


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
