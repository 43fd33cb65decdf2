"""The run that ``resume=auto`` goes on with."""

import os
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from nerfkit.errors import CheckpointError, UserError
from nerfkit.runs.configs import load_config
from nerfkit.runs.fingerprint import finished
from nerfkit.runs.folder import Run, being_written, find, has_checkpoint


def newest_unfinished(output: str | Path) -> Path:
    """The newest run in ``output`` that has a checkpoint and stages which it has not been through; held ones aside.

    Raises:
        CheckpointError: there is none.
    """
    root = Path(os.path.expanduser(output))
    folders = (path.parent for path in root.glob("*/*/config.yaml"))
    for folder in sorted(folders, key=lambda folder: folder.name, reverse=True):
        try:
            saved, metrics = load_config(folder / "config.yaml"), Run(folder).metrics()
        except (UserError, yaml.YAMLError, OmegaConfBaseException):
            continue  # damaged
        listed = saved.get("stages") if isinstance(saved, DictConfig) else None
        asked = [str(stage) for stage in listed] if isinstance(listed, ListConfig) else []
        unfinished = has_checkpoint(folder) and not set(asked) <= finished(metrics)
        if unfinished and not being_written(folder):
            return find(folder)
    raise CheckpointError(
        f"resume=auto: no unfinished run with a checkpoint in {root}; expected one that nobody trains, or resume=RUN"
    )
