"""The commands ``train.py`` and ``render.py``: check the words, let Hydra compose, call the pipeline.

Exit codes: 0 done; 1 a bug, with its traceback; 2 bad input, a disk that is full or cannot be written, too little
memory, a run that another process trains, with one message; 3 a fit that diverged; 130 stopped by Ctrl-C; 143 by
SIGTERM; 141 where what is printed is read no further.
"""

import argparse
import contextlib
import errno
import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from torch.distributed import is_torchelastic_launched

from nerfkit import options, resume, store
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError, reader_may_leave, told
from nerfkit.runs import elastic
from nerfkit.runs.configs import CheckedFiles, configs_through
from nerfkit.runs.folder import find, refuse_held
from nerfkit.runs.interrupts import Terminated, take_terminations
from nerfkit.runs.output import check_output
from nerfkit.runs.unfinished import newest_unfinished
from nerfkit.schema import literal
from nerfkit.start import imported
from nerfkit.sweep import Sweep
from nerfkit.word_checks import said_twice

ALONE = ("run", "multirun", "cfg", "info", "shell_completion")  # flags of which Hydra takes one
SHELLS = ("bash", "zsh", "fish")  # that Hydra completes words in


def train() -> None:
    """``python train.py KEY=VALUE ...``: every stage of a run, or with ``resume=RUN`` the rest of one."""
    _command("train", _train)


def render() -> None:
    """``python render.py run=RUN KEY=VALUE ...``: videos of a trained run."""
    _command("render", _render)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turns what the user can fix into one line and exit code 2, Ctrl-C into 130 and SIGTERM into 143.

    A console, or a file, of an old encoding is shown what it can show; log.txt is UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with reader_may_leave(), _full_disk_ends():
            yield
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        found = told(error)
        if found is None:
            raise
        code, message = found
        _fail(message, code)


@contextlib.contextmanager
def _full_disk_ends() -> Iterator[None]:
    """Turns a full disk into one line and exit code 2."""
    try:
        yield
    except OSError as error:
        if not _disk_full(error):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _fail(f"the disk is full{where}; free some space, or choose another disk with output=FOLDER")


class _Job:
    """What Hydra runs for each job, and Hydra's launchers pickle: ``task`` of the command ``name``."""

    def __init__(self, name: str, task: Callable[..., Path | None], sweep: Sweep | None) -> None:
        self.name, self.task, self.sweep = name, task, sweep

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        store.register()  # another process, whose Hydra is to compose the job

    def __call__(self, config: DictConfig) -> None:
        made = store.typed(store.COMMANDS[self.name], config)
        if self.sweep is None:
            with exit_codes():  # here too: Hydra prints what reaches it
                self.task(made)
            return
        with _full_disk_ends():  # the other jobs have no more room
            self.sweep.run(HydraConfig.get().job.num, lambda: self.task(made))


def _command(name: str, task: Callable[..., Path | None]) -> None:
    """Checks the command line as a whole, before Hydra or a stage does anything, and hands it to Hydra.

    What Hydra has nothing more to do with, one job without a word of Hydra's own, runs as it was checked: Hydra would
    compose it twice more.
    """
    threading.excepthook = _thread_failed
    take_terminations()
    with exit_codes():
        arguments = _parsed()
        words = [] if arguments.hydra_help else arguments.overrides
        look = arguments.hydra_help or arguments.shell_completion or arguments.info
        place = arguments.config_dir = arguments.config_dir and os.path.expanduser(arguments.config_dir)
        if arguments.help:
            from nerfkit import describe

            print(describe.help_text(name, words, place))
            return
        if arguments.multirun and (is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) > 1):
            raise ConfigError("--multirun: a sweep is for one process; start it without torchrun")
        again = elastic.begun() if name == "train" and not look and arguments.cfg is None else None
        if again is not None and elastic.goes_on(again):
            return _resume(again, [], show=False)  # with the words that it has recorded
        folder = _value(words, "resume", "null")
        if name == "train" and folder != "null" and not look:
            place = _value(words, "output", TrainOptions.output)
            found = newest_unfinished(place) if folder == "auto" else find(folder)
            if arguments.cfg is None:
                refuse_held(found)  # before minutes of looking at photos
            return _resume(found, words, show=arguments.cfg is not None)
        typed = words
        if arguments.shell_completion or arguments.hydra_help:
            store.register(with_recipes=False)
        else:
            words = options.prepared(name, words, sweep=arguments.multirun)
        jobs = [] if look else options.expand(words, place) if arguments.multirun else [words]
        configs = [options.checked(name, job, place) for job in jobs]
        if arguments.multirun and any(isinstance(c, TrainOptions) and c.viewer != "off" for c in configs):
            raise ConfigError("viewer: a sweep's jobs have one port; expected off, or one of the jobs alone")
        outputs = [config.output for config in configs]
        for output in outputs if arguments.cfg is None else ():
            if output is not None:
                check_output(output)
        _note(typed)
        sweep = Sweep(jobs, outputs[0] or ".") if arguments.multirun and jobs and arguments.cfg is None else None
        flags = {key.replace("_", "-"): value for key, value in vars(arguments).items() if value and key != "overrides"}
        if flags.keys() <= {"config-dir", "run"} and not any(word.lstrip("+").startswith("hydra") for word in words):
            task(configs[0], words)
            return
        sys.argv[1:] = [f"--{flag}" + ("" if value is True else f"={value}") for flag, value in flags.items()] + words

        code = 0
        try:
            job = _Job(name, task, sweep)
            with configs_through(_Files):
                hydra.main(version_base="1.3", config_path="pkg://nerfkit.conf", config_name=name)(job)()
        finally:
            if sweep is not None:
                code = sweep.end()
        if code:
            sys.exit(code)


def _parsed() -> argparse.Namespace:
    """Hydra's flags, and as ``overrides`` the words, which may stand between and behind the flags.

    Raises:
        ConfigError: a flag that is not Hydra's, or one that names another primary config.
    """
    if "--version" in sys.argv[1:]:
        print(f"nerfkit {imported('nerfkit', '__version__')}, with Hydra {hydra.__version__}")
        sys.exit(0)
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    arguments, rest = parser.parse_known_args()
    arguments.overrides += [word for word in rest if not word.startswith("-")]
    for flag in (word for word in rest if word.startswith("-")):
        key, _, value = flag.lstrip("-").partition("=")
        following = iter(sys.argv[sys.argv.index(flag) + 1 :])
        pair = f"{key}={value or next((word for word in following if '=' not in word), 'VALUE')}"
        raise ConfigError(f"{flag}: unknown flag; options are written {pair}, and --help lists them")
    for flag in ("config_name", "config_path"):
        if getattr(arguments, flag):
            raise ConfigError(
                f"--{flag.replace('_', '-')}: not used here; --config-dir FOLDER adds configs of your own"
            )
    given = [f"--{flag.replace('_', '-')}" for flag in ALONE if getattr(arguments, flag)]
    if len(given) > 1:
        raise ConfigError(f"{' '.join(given)}: one of them at a time")
    said = " ".join(arguments.overrides)
    if arguments.shell_completion and not re.fullmatch(f"(install|uninstall|query)=({'|'.join(SHELLS)})", said):
        raise ConfigError(f"-sc {said}: expected install=SHELL; SHELL is one of {', '.join(SHELLS)}")
    return arguments


def _refuse(message: str) -> NoReturn:
    raise ConfigError(message)


class _Files(CheckedFiles):
    """Refuses a file with exit code 2; Hydra would print the traceback."""

    def load_config(self, config_path: str) -> ConfigResult:
        with exit_codes():
            found = super().load_config(config_path)
        return found


def _value(words: list[str], key: str, default: str) -> str:
    """What the words say of a key that stands at the top; the last one counts."""
    found = [word.split("=", 1)[1] for word in words if word.lstrip("+").startswith(f"{key}=")]
    return found[-1] if found else default


def _resume(folder: Path, words: list[str], show: bool) -> None:
    """Goes on with a run. Its own config takes the place of what Hydra would compose; ``show`` prints it instead."""
    config = resume.resumed(folder, words)
    _note(words)
    if show:
        print(OmegaConf.to_yaml(literal(asdict(config))), end="")
    else:
        _train(config)


def _note(words: list[str]) -> None:
    """Prints what is odd about words that were found to be good."""
    for note in said_twice(words):
        print(note, file=sys.stderr)


def _train(config: TrainOptions, words: list[str] | None = None) -> Path | None:
    run = imported(
        "nerfkit.pipeline", "run"
    )  # it imports everything; `--help` and a mistyped key need not wait for that
    made: Path | None = run(config, words)
    return made


def _render(config: RenderOptions, words: list[str] | None = None) -> None:
    if config.run is None:
        raise ConfigError("run: which run? Expected run=OUTPUT/SCENE/DATE_TIME or run=OUTPUT/SCENE/latest")
    find(config.run)
    imported("nerfkit.pipeline", "render")(config)


def _disk_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread meets a full disk and passes the error on to the next write: that one message is enough."""
    if not _disk_full(arguments.exc_value):
        threading.__excepthook__(arguments)


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
