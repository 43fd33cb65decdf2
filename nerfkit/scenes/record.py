"""What a run keeps of its scene, so that it can be looked at where the photos are no more: ``scene.json``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nerfkit.cameras import Cameras
from nerfkit.errors import CheckpointError
from nerfkit.runs.files import write_text
from nerfkit.runs.untrusted import parse_json, read_file
from nerfkit.scenes.photos import Photos
from nerfkit.scenes.scene import Scene, Similarity

NAME = "scene.json"
KEPT = ("name", "train", "test", "background", "up", "truth", "ground", "unbounded", "cameras_refined", "meters")


def record(scene: Scene, folder: Path) -> None:
    """Writes cameras, split, axes and normalization of ``scene`` into ``folder``."""
    cameras = scene.cameras
    content = {key: getattr(scene, key) for key in KEPT} | {
        "normalization": asdict(scene.normalization),
        "height": [height for height, _ in cameras.sizes],
        "width": [width for _, width in cameras.sizes],
        "intrinsics": cameras.intrinsics.tolist(),
        "camera_to_world": cameras.camera_to_world.tolist(),
    }
    write_text(folder / NAME, json.dumps(content) + "\n")


def recorded(folder: Path) -> Scene | None:
    """The scene of a run without its photos, which are all empty; None where an older version kept nothing.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = parse_json(read_file(path))
        poses, lenses = (torch.tensor(content[key]) for key in ("camera_to_world", "intrinsics"))
        cameras = Cameras(poses, lenses, content["height"], content["width"])
        scale, translation = content["normalization"].values()
        pixels = sum(height * width for height, width in cameras.sizes)
        empty = Photos(torch.zeros(1, 4, dtype=torch.uint8).expand(pixels, 4), cameras.sizes)  # of no memory
        plain: dict[str, Any] = {key: content[key] for key in KEPT if key in content}
        plain |= {key: tuple(plain[key]) for key in ("background", "up", "ground") if plain.get(key) is not None}
        similarity = Similarity(scale, tuple(translation))
        return Scene(images=empty, cameras=cameras, has_masks=False, normalization=similarity, **plain)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); delete it, and the photos are read instead") from None
