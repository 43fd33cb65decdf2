"""The commands ``train.py`` and ``render.py``: check the words, let Hydra compose, call the pipeline.

Exit codes: 0 done; 1 a fit that diverged, or a bug, with its traceback; 2 bad input or a full disk, with one message;
130 stopped by Ctrl-C.
"""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from nerfkit import options
from nerfkit.errors import ConfigError, UserError
from nerfkit.runs.folder import find


def train() -> None:
    """``python train.py KEY=VALUE ...``: every stage of a run, or with ``resume=RUN`` the rest of one."""
    _command("train", _train)


def render() -> None:
    """``python render.py run=RUN KEY=VALUE ...``: videos of a trained run."""
    _command("render", _render)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what the user can mend into one line and exit code 2, and Ctrl-C into 130."""
    try:
        yield
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _fail(f"the disk is full{where}; free some space, or choose another disk with output=FOLDER")
    except FloatingPointError as error:  # a fit that diverged: nothing is wrong with the program or its input
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        sys.exit(130)


def _command(name: str, task: Callable[[DictConfig], None]) -> None:
    """Checks the command line as a whole, before Hydra or a stage does anything, and hands it to Hydra."""
    arguments = get_args_parser().parse_args()
    with exit_codes():
        if not (arguments.help or arguments.hydra_help or arguments.shell_completion or arguments.info):
            words: list[str] = arguments.overrides
            if name == "train" and any(word.startswith("resume=") and word != "resume=null" for word in words):
                return _resume(words, show=arguments.cfg is not None)
            for job in options.expand(words) if arguments.multirun else [words]:
                options.compose(name, job)
        if name == "train":
            # Flags such as `--cfg job` stay where they are.
            sys.argv[1:] = options.with_preset(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="pkg://nerfkit.conf", config_name=name)(task)()


def _resume(words: list[str], show: bool) -> None:
    """Goes on with a run. Its own config takes the place of what Hydra would compose; ``show`` prints it instead."""
    folder = next(word.split("=", 1)[1] for word in words if word.startswith("resume="))
    config = options.resumed(find(folder), words)
    if show:
        print(OmegaConf.to_yaml(config), end="")
    else:
        _train(config)


def _train(config: DictConfig) -> None:
    with exit_codes():
        from nerfkit import pipeline  # it imports every room; `--help` and a mistyped key need not wait for that

        pipeline.run(config)


def _render(config: DictConfig) -> None:
    with exit_codes():
        if config.run is None:
            raise ConfigError("run: which run? Expected run=OUTPUT/SCENE/DATE_TIME or run=OUTPUT/SCENE/latest")
        find(config.run)
        from nerfkit import pipeline

        pipeline.render(config)


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
