"""``python -m nerfkit synthesize``: its words, its messages and its exit codes."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from nerfkit.__main__ import main
from nerfkit.mesh.files.io import FORMATS, save_mesh
from nerfkit.mesh.mesh import Mesh
from nerfkit.scenes import open_scene
from nerfkit.studio.synthesize import SynthesisOptions

Command = Callable[..., int]
TINY = ("views=5", "size=16", "samples=2")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs the command in a folder that holds pyramid in every mesh format, and returns its exit code."""
    monkeypatch.chdir(tmp_path)
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    save_mesh(Mesh(vertices, faces, colors=vertices.clamp(0.1, 0.9)), "pyramid", FORMATS)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["nerfkit", "synthesize", *words])
        try:
            main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return 0

    return call


@pytest.mark.parametrize("ending", FORMATS)
def test_every_mesh_format(command: Command, capsys: pytest.CaptureFixture, ending: str) -> None:
    assert command(f"pyramid.{ending}", "out", *TINY, "format=blender") == 0
    assert capsys.readouterr().out == "nerfkit train scene=blender scene.root=out/blender\n"
    scene = open_scene("auto", "out/blender")
    assert scene.images.stack().shape == (5, 16, 16, 4)
    assert len(scene.images[0][..., :3].reshape(-1, 3).unique(dim=0)) >= 5


def test_what_it_prints_opens_the_data(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command("pyramid.ply", "out/deep", *TINY, "holdout=2", "light=studio", "seed=3") == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "nerfkit train scene=kaolin scene.root=out/deep/kaolin scene.holdout=2",
        "nerfkit train scene=blender scene.root=out/deep/blender",
    ]
    assert open_scene("kaolin", "out/deep/kaolin", holdout=2).test == [0, 2, 4]
    assert open_scene("blender", "out/deep/blender").test == [2, 3, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "synthesize: got neither; expected a mesh file and a folder"),
        (["pyramid.obj"], "synthesize: got pyramid.obj; expected a mesh file and a folder"),
        (["pyramid.obj", "a", "b"], "synthesize: got pyramid.obj a b; expected"),
        (["nowhere.obj", "out"], "nowhere.obj: there is no such mesh file"),
        (["empty.obj", "out"], "empty.obj: "),
        (["pyramid.fbx", "out"], "pyramid.fbx: meshes are read from .glb, .obj, .ply and .stl"),
        (["pyramid.obj", "out", "vews=3"], "vews: unknown key; did you mean views? Known: views, size, samples"),
        (["pyramid.obj", "out", "progress=False"], "progress: unknown key"),
        (["pyramid.obj", "out", "views=many"], "views=many: expected a whole number from 3 to 100000, such as 40"),
        (["pyramid.obj", "out", "views=0"], "views=0: expected a whole number from 3"),
        (["pyramid.obj", "out", "fov=wide"], "fov=wide: expected a number from 1 to 150, such as 40.0"),
        (
            ["pyramid.obj", "out", "light=sudio"],
            "light=sudio: unknown value sudio; did you mean studio? Known: auto, none, studio",
        ),
        (["pyramid.obj", "out", "--views", "3"], "--views: expected KEY=VALUE, as in views=40"),
        (["pyramid.obj", "out", "--views=3"], "--views=3: expected KEY=VALUE, as in views=40"),
        (["pyramid.obj", "out", "-x"], "-x: expected KEY=VALUE"),
        (["pyramid.obj", "pyramid.ply"], "pyramid.ply: a file; expected a new or an empty folder"),
        (["pyramid.obj", "."], ": not empty, it holds empty.obj"),
    ],
)
def test_bad_words(
    command: Command, capsys: pytest.CaptureFixture, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty.obj").touch()
    before = sorted(tmp_path.iterdir())
    assert command(*words) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert message in output.err
    assert output.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_help_names_every_key(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command("--help") == 0
    text = capsys.readouterr().out
    for key, value in asdict(SynthesisOptions()).items():
        assert f"{key}={value} " in text
