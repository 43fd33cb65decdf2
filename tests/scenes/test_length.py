"""A known length makes a scene metric; what is no length is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nerfkit import options
from nerfkit.errors import ConfigError
from nerfkit.fit.build import load_scene
from nerfkit.scenes import SceneOptions, open_scene
from tests.scenes.builders import ring, write_kaolin


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaolin(tmp_path_factory.mktemp("length") / "ball", ring(4))


@pytest.mark.parametrize(
    "length",
    [
        [[0, 0, 0], [3, 0, 4], 0.5],
        ["0_rgb.png", "2_rgb.png", 4.0],
        ["0_rgb", 2, 4.0],
        [0, [3, -2, 5], 6.0],  # from a camera, 60 units away, to the ball's middle
    ],
)
def test_known_lengths(views: Path, length: list[Any]) -> None:
    plain = open_scene("kaolin", views, holdout=2)
    scene = open_scene("kaolin", views, holdout=2, length=length)
    centers = ring(4).positions.double()
    units = {0.5: 5.0, 4.0: float((centers[0] - centers[2]).norm()), 6.0: 60.0}[length[2]]
    assert scene.meters == pytest.approx(length[2] / units, rel=1e-5)
    assert scene.notes == [*plain.notes, f"1 unit = {scene.meters:.6g} m, by scene.length"]
    assert scene.normalization == plain.normalization
    point = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(
        scene.exported.apply(point * scene.meters), plain.normalization.apply(point), rtol=1e-9, atol=1e-9
    )


BAD: dict[str, tuple[Any, str]] = {
    "no list": (0.5, "expected two points"),
    "text": ("abc", "expected two points"),
    "two": ([[0, 0, 0], [1, 0, 0]], "expected two points"),
    "a point of two": ([[0, 0], [1, 0, 0], 1], "expected two points"),
    "a point of text": ([["a", 0, 0], [1, 0, 0], 1], "expected two points"),
    "nothing": ([None, 1, 1], "expected two points"),
    "zero": ([0, 1, 0], "expected two points"),
    "negative": ([0, 1, -2.0], "expected two points"),
    "endless": ([0, 1, float("inf")], "expected two points"),
    "equal points": ([[1, 0, 0], [1.0, 0, 0], 2], "both ends are the same"),
    "equal photos": (["a.jpg", "a.jpg", 2], "both ends are the same"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_length(case: str) -> None:
    value, message = BAD[case]
    with pytest.raises(ConfigError, match=rf"^scene\.length=.*{message}") as caught:
        SceneOptions(name="auto", length=value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (
            ["0_rbg.png", 1, 2],
            r"0_rbg.png is no photo's .*0_rgb.png \(0\) to 3_rgb.png \(3\); did you mean 0_rgb.png\?",
        ),
        ([0, 4, 2], "scene.length: 4 is no photo's number"),
        ([0, -1, 2], "scene.length: -1 is no photo's number"),
        ([0, "0_rgb", 2], "both ends are in one place"),
    ],
)
def test_photos_that_are_not_there(views: Path, length: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_scene("kaolin", views, holdout=2, length=length)


@pytest.mark.parametrize("word", ["[[0,0,0],[0,2,0],0.5]", "[0_rgb.png,2_rgb.png,0.5]"])
def test_as_a_word_of_the_command(views: Path, word: str) -> None:
    config = options.compose(
        "train", ["scene=kaolin", f"scene.root={views}", "scene.holdout=2", f"scene.length={word}"]
    )
    assert load_scene(config).meters is not None
