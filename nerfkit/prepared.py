"""What is found about a run's photos before it begins, and where that is kept: ``OUTPUT/prepared``."""

import os
from dataclasses import replace
from pathlib import Path

from nerfkit.config import TrainOptions
from nerfkit.errors import ConfigError
from nerfkit.fit.build import load_scene
from nerfkit.prepare import find_points
from nerfkit.scenes.scene import Scene


def prepared_folder(config: TrainOptions) -> Path:
    """Where what is found about the photos at ``config.scene.root`` is kept."""
    source = Path(config.scene.root or "")
    output = Path(os.path.abspath(os.path.expanduser(config.output)))
    return output / "prepared" / (source.name if source.is_dir() else source.stem)


def with_points(config: TrainOptions, scene: Scene) -> Scene:
    """The scene with points on what it shows: where none came with photos that nothing masks, they are looked for.

    ``config.scene.points`` names them from then on.
    """
    s = config.scene
    stated = s.points is not None or not (s.center is None and s.radius is None and s.box is None)
    if not scene.unbounded or len(scene.points) or stated:
        return scene
    try:
        points = find_points(scene, prepared_folder(config).parent / "points")
    except ConfigError:
        missing = (
            "no points came with the photos, so the region is a guess: pip install 'nerfkit[photos]', and some are "
            "found"
        )
        return replace(scene, notes=[*scene.notes, missing])
    if points is None:
        none = (
            "no points came with the photos, and none can be found, so the region is a guess: say where the object is, "
        )
        return replace(scene, notes=[*scene.notes, f"{none}scene.center and scene.radius"])
    s.points = str(points)
    scene = load_scene(config)
    said = f"no points came with the photos: {len(scene.points)} were found, scene.points={points}"
    return replace(scene, notes=[*scene.notes, said])
