"""Fingerprints of what a run has made: the same where every bit is the same.

``metrics.json`` has them by stage and name, ``{"fingerprints": {"field": {"step 100": ..., "state": ...}, "extract":
{"mesh/coarse.ply": ...}}}``: what training has after some numbers of steps and at its end, and the files of each stage.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

DIGITS = 16  # hexadecimal, of SHA-256
MARKS = (10, 100, 1_000, 10_000, 100_000)  # steps after which training's state is looked at
SECTION, FIELD, STATE = "fingerprints", "field", "state"
FINISHED = ("mesh/refined.glb", "mesh/specular.npz", "images/mesh_*.png", "timelapse/*.*")
FILES = {
    FIELD: ("images/field_*.png", "field.safetensors"),
    "extract": ("mesh/coarse.ply",),
    "refine": FINISHED,
    "texture": FINISHED,
    "export": ("mesh/mesh.*", "mesh/mesh_*.*", "mesh/points.ply"),
    "video": ("video/*.*",),
}
"""Stage of ``train.py`` -> patterns of the files that it makes."""


def mark(step: int) -> str:
    """The name of the state after that many steps."""
    return f"step {step}"


def finished(metrics: dict[str, Any]) -> set[str]:
    """The stages that a run has been through, by its metrics.json; by their seconds where it is older than this."""
    found = metrics.get(SECTION)
    if found is None:
        return set(metrics.get("stages", {}))
    return {stage for stage, names in found.items() if stage != FIELD or STATE in names}


def of_stage(folder: Path, stage: str) -> dict[str, str]:
    """Of a stage's files, by pattern: one for all that it fits, their names among it; none where it fits none."""
    found = {}
    for pattern in FILES[stage]:
        paths = sorted(path for path in folder.glob(pattern) if path.is_file())
        if paths:
            found[pattern] = of_files(paths)
    return found


def of_files(paths: Iterable[Path]) -> str:
    """Of files in this order: names and bits."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:DIGITS]


def of_state(state: Any) -> str:
    """Of nested dicts and lists of tensors and plain values: names, order, dtypes, shapes and bits.

    ``seconds`` are left out: they are never the same twice.
    """
    digest = hashlib.sha256()
    _add(digest, state)
    return digest.hexdigest()[:DIGITS]


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, dict):
        digest.update(f"{len(value)} named".encode())
        for key, item in value.items():
            if key != "seconds":
                digest.update(f"{key}:".encode())
                _add(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} of".encode())
        for item in value:
            _add(digest, item)
    else:
        digest.update(repr(value).encode())
