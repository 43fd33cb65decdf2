"""``python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...``: photos of a mesh as a data set."""

from collections.abc import Sequence

from nerfkit.errors import ConfigError, command
from nerfkit.mesh.files.io import load_mesh
from nerfkit.studio.synthesize import SynthesisOptions, synthesize
from nerfkit.words import parse, table, wants_help

USAGE = """usage: python -m nerfkit synthesize MESH FOLDER KEY=VALUE ...

Photos of a mesh (.obj, .glb, .ply or .stl) from all sides, with masks, depth, normals, cameras and the true surface:
FOLDER/kaolin for `train.py scene=kaolin scene.root=FOLDER/kaolin`, FOLDER/blender for `scene=blender`.
"""


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name.

    Raises:
        ConfigError: a word, key or value that cannot be used.
        SceneError: the mesh or the folder cannot be used.
    """
    if wants_help(words):
        print(USAGE)
        print(table(SynthesisOptions))
        return
    paths, options = parse(SynthesisOptions, words)
    if len(paths) != 2:
        got = " ".join(paths) or "neither"
        raise ConfigError(f"synthesize: got {got}; expected a mesh file and a folder, as in synthesize cow.obj cow/")
    for name, folder in synthesize(load_mesh(paths[0]), paths[1], options).items():
        other = name == "kaolin" and options.holdout != SynthesisOptions.holdout
        print(
            f"{command('train')} scene={name} scene.root={folder}{f' scene.holdout={options.holdout}' if other else ''}"
        )
