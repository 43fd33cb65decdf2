"""Scenes: one module a format, and ``open_scene``, which finds the right one."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from nerfkit.errors import ConfigError, problem
from nerfkit.scenes.assemble import Background, background_color
from nerfkit.scenes.files import Source
from nerfkit.scenes.scene import Scene, Similarity
from nerfkit.schema import Options, option

__all__ = ["FORMATS", "Scene", "SceneOptions", "Similarity", "detect", "open_scene"]

# Name -> the module whose ``load`` reads it, imported when it is asked for.
FORMATS = {"clock": "nerfkit.studio.clock", "kaolin": "nerfkit.scenes.kaolin", "blender": "nerfkit.scenes.blender"}

# Signs by which formats that have no loader are told from a wrong path.
_UNSUPPORTED = {
    "nerfstudio": ("transforms.json",),
    "colmap": ("sparse/*/cameras.*", "sparse/cameras.*", "cameras.bin", "cameras.txt"),
    "llff": ("poses_bounds.npy",),
    "dtu": ("cameras_sphere.npz", "cameras.npz"),
}


@dataclass
class SceneOptions(Options):
    """The photos; auto looks at the files, and clock is modeled and rendered here on first use."""

    group: ClassVar[str] = "scene"

    name: str = option("auto", "its format", choices=(*FORMATS, "auto"))
    root: str | None = option(
        None, "folder or zip of the photos, not for the clock, which is kept in $NERFKIT_CACHE", path=True
    )
    resolution: int | None = option(None, "longer image side in pixels; null: as stored, the clock 512", least=8)
    background: Any = option(None, "black, white or [r,g,b] in [0,1]; null: white for blender, else black")
    holdout: int = option(10, "every so many-th view is held out where the format has no test split", least=2)

    def check(self) -> None:
        super().check()
        background_color(self.background, "black")
        made = self.name != "clock" or self.root is None
        self.expect("root", made, "null with scene=clock, which nerfkit makes itself; for photos say scene=auto")


def open_scene(
    name: str,
    root: str | Path | None = None,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
) -> Scene:
    """Load a scene, normalized, with its training and test views.

    Args:
        name: of ``FORMATS`` ("clock" is made by the project), or "auto", which looks at the files.
        root: folder or zip of the data; None for the clock.
        resolution: longer image side in pixels, reached by a premultiplied box filter; None, or more than is stored,
            keeps the stored size.
        background: "black", "white" or three numbers in [0,1]; None takes the format's: white for blender, else black.
        holdout: views 0, holdout, 2 holdout, ... are the test views where the format has no test split.

    Raises:
        SceneError: the data cannot be used; the message names the file.
        ConfigError: an argument is out of its range, or ``root`` is missing.
    """
    SceneOptions(name, None if root is None else str(root), resolution, background, holdout)  # it checks them
    if root is None and name != "clock":
        raise ConfigError(f"scene.root is missing; scene={name} reads files. Add scene.root=FOLDER_OR_ZIP.")
    found = detect(root) if name == "auto" and root is not None else name
    scene: Scene = import_module(FORMATS[found]).load(
        root, resolution=resolution, background=background, holdout=holdout
    )
    return scene


def detect(root: str | Path) -> str:
    """The format of a folder or zip, a key of ``FORMATS``.

    Raises:
        SceneError: there is none, or it is one without a loader.
    """
    supported = "the kaolin or blender format"
    with Source(root) as source:
        if source.find("*_metadata.json") and source.find("*_rgb.png"):
            return "kaolin"
        if source.find("transforms_train.json"):
            return "blender"
        for format_name, signs in _UNSUPPORTED.items():
            if any(source.find(sign) for sign in signs):
                raise problem(
                    str(root),
                    f"the {format_name} format is not supported yet",
                    supported,
                    "Convert the data to one of them.",
                )
        raise problem(
            str(root),
            "no known format",
            f"{supported} (N_metadata.json with N_rgb.png, or transforms_train.json)",
            "Check scene.root.",
        )
