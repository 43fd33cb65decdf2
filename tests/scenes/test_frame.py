"""What a user says of region and axes, and the sentence that says what was found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfkit import options
from nerfkit.errors import ConfigError
from nerfkit.fit.build import load_scene
from nerfkit.scenes import open_scene
from nerfkit.scenes.frame import Frame, region_note
from tests.scenes.builders import ring, write_blender, write_kaolin
from tests.scenes.test_develop import write

BOX = [[1.0, 8.0, 3.0], [5.0, 2.0, 4.0]]  # two opposite corners, not the least and the largest
LOW, HIGH = (1.0, 2.0, 3.0), (5.0, 8.0, 4.0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scenes")
    return {
        "opaque": write(folder / "opaque"),
        "masked": write(folder / "masked", channels=4),
        "kaolin": write_kaolin(folder / "kaolin", ring(4, (12, 16))),
        "blender": write_blender(folder / "blender", ring(3, (6, 8)), ring(1, (6, 8))),
    }


@pytest.mark.parametrize("name", ["opaque", "masked", "kaolin", "blender"])
def test_a_box_is_the_region_and_where_the_mesh_ends(scenes: dict[str, Path], name: str) -> None:
    """The region is the smallest cube around the box: the same as by its center and half of its longest side."""
    scene = open_scene("auto", scenes[name], holdout=3, box=BOX)
    cube = open_scene("auto", scenes[name], holdout=3, center=[3.0, 5.0, 3.5], radius=3.0)
    assert scene.normalization == cube.normalization
    assert scene.box == (LOW, HIGH) and cube.box is None
    found = scene.normalization.apply(torch.tensor([LOW, HIGH], dtype=torch.float64))
    torch.testing.assert_close(found[:, 1], torch.tensor([-0.95, 0.95]).double(), atol=1e-6, rtol=0)
    assert not any("region of interest" in note for note in scene.notes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "box and center": ({"box": BOX, "center": [0, 0, 0]}, r"scene\.box=.*so does scene\.center; expected one"),
    "box and radius": ({"box": BOX, "radius": 1.0}, r"scene\.box=.*so does scene\.radius; expected one"),
    "box and both": ({"box": BOX, "center": [0, 0, 0], "radius": 1.0}, r"scene\.center and scene\.radius; expected"),
    "one corner": ({"box": [[0, 0, 0]]}, r"scene\.box=\[\[0,0,0\]\]: expected two opposite corners"),
    "no corners": ({"box": "all"}, r"scene\.box=all: expected two opposite corners"),
    "numbers alone": ({"box": [1, 2, 3, 4, 5, 6]}, r"scene\.box=\[1,2,3,4,5,6\]: expected two opposite corners"),
    "two numbers": ({"box": [[0, 0], [1, 1]]}, r"scene\.box=\[\[0,0\],\[1,1\]\]: expected two opposite corners"),
    "no number": ({"box": [[0, 0, float("nan")], [1, 1, 1]]}, r"scene\.box=.*nan.*: expected two opposite corners"),
    "flat": ({"box": [[0, 0, 0], [1, 0, 1]]}, r"scene\.box=\[\[0,0,0\],\[1,0,1\]\]: it is flat; expected two"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_no_box_is_refused(case: str) -> None:
    asked, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        Frame.of(**asked)


@pytest.mark.parametrize("name", ["opaque", "masked", "kaolin", "blender"])
def test_the_sentence_of_the_region_can_be_copied_into_a_command(scenes: dict[str, Path], name: str) -> None:
    words = ["scene=auto", f"scene.root={scenes[name]}", "scene.holdout=3"]
    scene = load_scene(options.compose("train", words))
    (note,) = [note for note in scene.notes if "region of interest" in note]
    copied = [word.rstrip(";") for word in note.split() if word.startswith("scene.") and "=" in word]
    assert [word.split("=")[0] for word in copied] == ["scene.center", "scene.radius", "scene.up"]
    again = load_scene(options.compose("train", [*words, *copied]))
    assert again.normalization.scale == pytest.approx(scene.normalization.scale, rel=1e-4)
    np.testing.assert_allclose(again.normalization.translation, scene.normalization.translation, atol=1e-4)
    np.testing.assert_allclose(again.up, scene.up, atol=1e-4)
    assert ("masks leave" in note) == (name != "opaque")


def test_the_sentence_has_digits_enough_on_a_map() -> None:
    low = np.array([448123.25, 5411999.5, 312.0])
    note = region_note((low, low + np.array([2.0, 4.0, 3.0])), (0.0, 0.0, 1.0), "around 900 points")
    assert "scene.center=[448124.25,5412001.5,313.5] scene.radius=2 scene.up=[0,0,1]" in note
