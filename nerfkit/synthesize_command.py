"""``python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...``: photos of a mesh as a data set."""

import contextlib
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

from nerfkit.errors import ConfigError, command, did_you_mean
from nerfkit.mesh.files.io import load_mesh
from nerfkit.schema import check_value, default_of, expected, shown, type_of
from nerfkit.studio.synthesize import SynthesisOptions, synthesize

USAGE = """usage: python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...

Photos of a mesh (.obj, .glb or .ply) from all sides, with masks, depth, normals, cameras and the true surface:
FOLDER/kaolin for `train.py scene=kaolin scene.root=FOLDER/kaolin`, FOLDER/blender for `scene=blender`.
"""
KEYS: dict[str, "Field[Any]"] = {declared.name: declared for declared in fields(SynthesisOptions)}


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name.

    Raises:
        ConfigError: a word, key or value that cannot be used.
        SceneError: the mesh or the folder cannot be used.
    """
    if any(word in ("-h", "--help", "help") for word in words):
        print(USAGE)
        for key, declared in KEYS.items():
            value, takes = shown(default_of(declared)), expected(SynthesisOptions, declared)
            print(f"  {f'{key}={value}':<15} {declared.metadata['meaning']} ({takes})")
        return
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is not None:
        key = flag.lstrip("-").partition("=")[0]
        example = f", as in {key}={shown(default_of(KEYS[key]))}" if key in KEYS else ""
        raise ConfigError(f"{flag}: expected KEY=VALUE{example}")
    paths = [word for word in words if "=" not in word]
    options = SynthesisOptions(**dict(parse(word) for word in words if "=" in word))
    if len(paths) != 2:
        got = " ".join(paths) or "neither"
        raise ConfigError(f"synthesize: got {got}; expected a mesh file and a folder, as in synthesize cow.obj cow/")
    for name, folder in synthesize(load_mesh(paths[0]), paths[1], options).items():
        other = name == "kaolin" and options.holdout != SynthesisOptions.holdout
        print(
            f"{command('train')} scene={name} scene.root={folder}{f' scene.holdout={options.holdout}' if other else ''}"
        )


def parse(word: str) -> tuple[str, Any]:
    """Key and value of a word ``KEY=VALUE``; the value has the type of the key.

    Raises:
        ConfigError: an unknown key, or a value of another type or out of its range.
    """
    key, value = word.split("=", 1)
    if key not in KEYS:
        raise ConfigError(f"{key}: unknown key{did_you_mean(key, KEYS)}")
    converted: Any = value
    with contextlib.suppress(ValueError):  # ``check_value`` says what was expected
        converted = type_of(SynthesisOptions, KEYS[key])[0](value)
    check_value(SynthesisOptions, KEYS[key], converted)
    return key, converted
