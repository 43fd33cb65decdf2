"""``python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...``: photos of a mesh as a data set.

The keys are the arguments of ``nerfkit.studio.synthesize.synthesize``, whose defaults say what their types are.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from nerfkit.errors import ConfigError, did_you_mean
from nerfkit.mesh.files.io import load_mesh
from nerfkit.options import TYPE_NAMES
from nerfkit.studio.synthesize import synthesize

USAGE = """usage: python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...

Photos of a mesh (.obj, .glb or .ply) from all sides, with masks, depth, normals, cameras and the true surface:
FOLDER/kaolin for `train.py scene=kaolin scene.root=FOLDER/kaolin`, FOLDER/blender for `scene=blender`.

  views={views}        pictures for training and testing
  size={size}        their side in pixels
  samples={samples}       a pixel is the mean of samples x samples rays
  seed={seed}          turns the cameras around the object
  holdout={holdout}      every tenth view is a test view
  fov={fov}        angle of view in degrees
  light={light}      none: colors as they are; studio: lights with a highlight
  specular={specular}    strength of the highlight, 0 to 1
  shininess={shininess}  its exponent
  up={up}            which of the mesh's axes points up, y or z
  format={format}     kaolin, blender or both
"""


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name.

    Raises:
        ConfigError: a word, key or value that cannot be used.
        SceneError: the mesh or the folder cannot be used.
    """
    defaults = keys()
    if any(word in ("-h", "--help", "help") for word in words):
        print(USAGE.format(**defaults), end="")
        return
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is not None:
        key = flag.lstrip("-").partition("=")[0]
        raise ConfigError(f"{flag}: expected KEY=VALUE" + (f", as in {key}={defaults[key]}" if key in defaults else ""))
    paths = [word for word in words if "=" not in word]
    values = dict(parse(word, defaults) for word in words if "=" in word)
    if len(paths) != 2:
        got = " ".join(paths) or "neither"
        raise ConfigError(f"synthesize: got {got}; expected a mesh file and a folder, as in synthesize cow.obj cow/")
    for name, folder in synthesize(load_mesh(paths[0]), paths[1], **values).items():
        holdout = values.get("holdout", defaults["holdout"])
        split = f" scene.holdout={holdout}" if name == "kaolin" and holdout != defaults["holdout"] else ""
        print(f"python train.py scene={name} scene.root={folder}{split}")


def keys() -> dict[str, Any]:
    """The keys of the command, with their defaults."""
    parameters = inspect.signature(synthesize).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "progress"}


def parse(word: str, defaults: dict[str, Any]) -> tuple[str, Any]:
    """Key and value of a word ``KEY=VALUE``; the value has the type of the key's default.

    Raises:
        ConfigError: an unknown key, or a value of another type.
    """
    key, text = word.split("=", 1)
    if key not in defaults:
        raise ConfigError(f"{key}: unknown key{did_you_mean(key, defaults)}")
    kind = type(defaults[key])
    try:
        return key, kind(text)
    except ValueError:
        raise ConfigError(f"{word}: expected {TYPE_NAMES[kind]}, as in {key}={defaults[key]}") from None
