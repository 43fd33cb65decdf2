"""The run folder ``OUTPUT/SCENE/DATE_TIME``: what was asked, what it ran on, what came out.

    config.yaml  overrides.yaml  environment.yaml  log.txt  metrics.json  report.html
    checkpoints/  mesh/  images/  video/  events.out.tfevents.*

``OUTPUT/SCENE/latest`` names the newest run. Every file but the log and the events is written whole or not at all.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from nerfkit.errors import READ_ONLY, CheckpointError, escaped
from nerfkit.runs import environment, outcome
from nerfkit.runs.audience import Audience
from nerfkit.runs.board import Board
from nerfkit.runs.checkpoints import FORMAT, check_format, steps
from nerfkit.runs.configs import load_config
from nerfkit.runs.curves import write_losses
from nerfkit.runs.files import followed, remove_halves, write_text
from nerfkit.runs.fingerprint import FILES, SECTION
from nerfkit.runs.lock import is_locked, locked
from nerfkit.runs.output import check_output, new_folder, point_latest, remove_folder
from nerfkit.runs.plain import changes, measured, newer, plain
from nerfkit.runs.untrusted import RefusedError, parse_json, read_file
from nerfkit.schema import literal, shown

LOG = "log.txt"
EVALUATION = "eval.json"  # what ``eval`` measured


class Run:
    """One run: its folder, log, metrics and TensorBoard.

    Attributes:
        folder: the run's folder.
        board: its TensorBoard; ``scalar``, ``scalar_by_second``, ``image`` and ``text`` write there, ``flush``
            and ``forget`` are its own.
        audience: who looks at what its fits make.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: BinaryIO | None = None
        self.audience = Audience()
        self.board = Board(folder)
        self.scalar = self.board.scalar
        self.scalar_by_second = self.board.scalar_by_second
        self.image = self.board.image
        self.text = self.board.text
        self.forget = self.board.forget
        self.flush = self.board.flush

    @classmethod
    def create(
        cls,
        output: str | Path,
        scene_name: str,
        config: Any,
        overrides: Sequence[str] | None = None,
        again: Path | None = None,
    ) -> "Run":
        """Makes a new folder, which this process holds, with config and environment, and points ``latest`` to it.

        Args:
            output: the folder of all runs.
            scene_name: the folder of this scene's runs.
            config: a config or a dataclass of options; saved resolved, as config.yaml.
            overrides: the words of the command; None takes them from Hydra, where Hydra runs the program.
            again: a run that was stopped before it saved anything, to begin anew in its folder; its log is kept.

        Raises:
            CheckpointError: another process trains ``again``.
            ConfigError: no folder can be made there.
        """
        parent = Path(os.path.expanduser(output)) / scene_name if again is None else again.parent
        check_output(parent)
        run = cls(new_folder(parent, datetime.now().strftime("%Y-%m-%d_%H-%M-%S")) if again is None else again)
        run.hold()
        if again is not None:
            _empty(again)
        if overrides is None:
            overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
        try:
            run._record(config, overrides)
        except BaseException:
            run.close()
            shutil.rmtree(run.folder, ignore_errors=True)  # a full disk, or Ctrl-C: leave nothing half written
            raise
        point_latest(parent, run.folder.name)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run, untouched; ``path`` may be ``OUTPUT/SCENE/latest``.

        Raises:
            CheckpointError: no such folder, or not a run folder.
        """
        return cls(find(path))

    def hold(self) -> None:
        """Keeps other processes from going on with the run until it is closed, or this process is gone.

        Raises:
            CheckpointError: another one trains it, or its folder cannot be written.
        """
        try:
            self._lock = locked(self.folder / LOG)
        except (OSError, RefusedError) as error:
            if isinstance(error, OSError) and error.errno not in READ_ONLY:
                raise
            reason = getattr(error, "strerror", error)
            raise CheckpointError(
                f"{self.folder}: cannot be written ({LOG}: {reason}), so it cannot go on; make it writable, or go on "
                "with a copy of it elsewhere"
            ) from None
        if self._lock is None:
            raise _held(self.folder)

    def go_on(self, config: Any) -> None:
        """Records that an existing run goes on with ``config`` in place of the saved one.

        What differs is printed, and added to overrides.yaml. What a killed part of the run has half written is removed.
        """
        remove_halves(self.folder)
        lines = self.differences(config)
        self._record(config, [f"{key}={shown(value)}" for key, (_, value) in self._changes(config).items()])
        for line in lines:
            self.log(line)

    def differences(self, config: Any) -> list[str]:
        """What ``config`` has otherwise than the run's own: ``KEY: BEFORE -> VALUE``."""
        found = self._changes(config)
        found.pop("resume", None)  # who goes on knows that
        return [f"{key}: {shown(before)} -> {shown(value)}" for key, (before, value) in found.items()]

    def _changes(self, config: Any) -> dict[str, tuple[Any, Any]]:
        return dict(changes(plain(load_config(self.folder / "config.yaml")), plain(config)))

    def log(self, text: str) -> None:
        """Prints ``text``, above a progress bar if there is one, and adds it to log.txt."""
        text = escaped(text)
        tqdm.write(text)
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json; empty before the first measurement."""
        return self._numbers("metrics.json")

    def evaluation(self) -> dict[str, Any]:
        """The content of ``EVALUATION``; empty where the run was not measured by ``eval``."""
        return self._numbers(EVALUATION)

    def _numbers(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            content = parse_json(read_file(path))
            if not isinstance(content, dict):
                raise ValueError(f"a {type(content).__name__}, no object")
            for section in content.keys() & {"stages", SECTION}:
                inner = content[section]
                if not (isinstance(inner, dict) and all(isinstance(value, dict) for value in inner.values())):
                    raise ValueError(f"{section} holds no objects")
        except ValueError as error:
            raise CheckpointError(f"{path}: not valid JSON ({error}); delete it to go on without it") from None
        return content

    def update_metrics(self, new: dict[str, Any]) -> None:
        """Puts ``new`` into metrics.json; a section of it takes the place of the earlier one of its name whole.

        None, NaN and infinity are left out, but null where the earlier section has a value: it no longer holds.
        """
        before = self.metrics()
        merged = before | newer(before, measured(new))
        write_text(self.folder / "metrics.json", json.dumps(merged, indent=2, allow_nan=False) + "\n")

    def add_fingerprints(self, stage: str, new: dict[str, str]) -> None:
        """Puts fingerprints of a stage into metrics.json: of files in the place of all earlier ones of its files."""
        all_stages = self.metrics().get(SECTION, {})
        kept = {name: found for name, found in all_stages.get(stage, {}).items() if name not in FILES[stage]}
        self.update_metrics({SECTION: all_stages | {stage: kept | new}})

    @contextlib.contextmanager
    def stage(self, name: str, continued: bool = False) -> Iterator[None]:
        """Measures seconds and peak memory into ``stages.NAME`` of metrics.json, also when the stage is stopped.

        Args:
            name: the stage.
            continued: add the seconds to those of the part that was done before the run was resumed.
        """
        before = self.metrics().get("stages", {}).get(name, {}).get("seconds", 0.0) if continued else 0.0
        environment.reset_peak_memory()
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = round(before + time.perf_counter() - start, 3)
            found = {name: {"seconds": seconds, **environment.peak_memory()}}
            self.update_metrics({"stages": self.metrics().get("stages", {}) | found})

    def sum_up(self) -> None:
        """Writes and logs a chart of every fit's loss; what was asked and what came of it goes to TensorBoard."""
        self.board.flush()
        for path in write_losses(self.folder):
            self.log(f"wrote {path}")
        config, words = (plain(load_config(self.folder / name)) for name in ("config.yaml", "overrides.yaml"))
        found = {f"{section}_{key}": value for section, key, value in outcome.figures(self.metrics())}
        self.board.outcome(outcome.asked(list(map(str, words)), config), found)

    def discard(self) -> None:
        """Removes the run's folder, as ``remove_folder``."""
        self.close()
        remove_folder(self.folder)

    def close(self) -> None:
        """Writes what TensorBoard still has in memory, and lets other processes go on with the run."""
        self.board.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _record(self, config: Any, overrides: Sequence[str]) -> None:
        path = self.folder / "overrides.yaml"
        earlier = list(load_config(path)) if path.exists() else []
        facts = environment.describe()
        # A reader that is OmegaConf too must not replace a ``${...}`` in a path.
        write_text(path, OmegaConf.to_yaml(literal([*earlier, *overrides])))
        write_text(self.folder / "config.yaml", OmegaConf.to_yaml(literal(plain(config))))
        write_text(self.folder / "environment.yaml", OmegaConf.to_yaml({"format": FORMAT} | facts))
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().isoformat(' ', 'seconds')}  {' '.join(overrides)}\n")
            file.write("  ".join(f"{key} {value}" for key, value in facts.items()) + "\n")


def find(path: str | Path) -> Path:
    """The run folder that ``path`` names, ``latest`` followed.

    Raises:
        CheckpointError: no such folder, one that is not a run's, or one of a newer nerfkit.
    """
    folder = followed(path).resolve()
    if not str(path):
        raise CheckpointError("no run folder is named; expected OUTPUT/SCENE/DATE_TIME or OUTPUT/SCENE/latest")
    if not folder.is_dir():
        what = "a file, not a run folder" if folder.exists() else "no such run folder"
        raise CheckpointError(f"{path}: {what}; expected OUTPUT/SCENE/DATE_TIME or OUTPUT/SCENE/latest")
    if not (folder / "config.yaml").exists():
        names = sorted(entry.name for entry in folder.iterdir())
        content = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing"
        raise CheckpointError(f"{path}: not a run folder: it has no config.yaml; it holds {content}")
    with contextlib.suppress(FileNotFoundError):
        facts = load_config(folder / "environment.yaml")
        check_format(facts.get("format") if isinstance(facts, DictConfig) else None, folder)
    return folder


def refuse_held(folder: Path) -> None:
    """Raises CheckpointError where a living process trains the run in ``folder``."""
    if being_written(folder):
        raise _held(folder)


def _held(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder}: another process is training this run; wait for its end, or stop it (Ctrl-C saves) and go on then"
    )


def has_checkpoint(folder: Path) -> bool:
    """Whether a field was trained there, at least in part."""
    return bool(steps(folder))


def being_written(folder: Path) -> bool:
    """Whether a process is at work on the run."""
    return is_locked(folder / LOG)


def _empty(folder: Path) -> None:
    """Removes what a run has left in its folder, but for its log."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOG:
            path.unlink()
