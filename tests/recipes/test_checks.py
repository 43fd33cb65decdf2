"""A value that a recipe cannot use is one message that names its key, before anything is made."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit import options, pipeline
from nerfkit.errors import ConfigError, SceneError, UserError
from nerfkit.mesh.topology import topology_report
from nerfkit.recipes.nmr import _lit
from nerfkit.recipes.targets import target_mask, target_mesh, target_picture
from nerfkit.runs.files import write_png

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

WRONG = [
    ("mesh_deform", "recipe.steps=-1"),
    ("mesh_deform", "recipe.steps=0"),
    ("mesh_deform", "recipe.subdivisions=99"),
    ("mesh_deform", "recipe.subdivisions=-1"),
    ("mesh_deform", "recipe.points=0"),
    ("mesh_deform", "recipe.rate=-1"),
    ("mesh_deform", "recipe.momentum=2"),
    ("mesh_deform", "recipe.chamfer=-1"),
    ("mesh_deform", "recipe.mesh="),
    ("mesh_deform", "recipe.name=nmr_draw"),
    ("mesh_deform", "budget=0"),
    ("mesh_deform", "budget=inf"),
    ("mesh_deform", "timelapse.snapshots=-3"),
    ("mesh_deform", "timelapse.formats=[]"),
    ("mesh_deform", "seed=-1"),
    ("nmr_draw", "recipe.size=0"),
    ("nmr_draw", "recipe.size=1000000"),
    ("nmr_draw", "recipe.frames=0"),
    ("nmr_draw", "recipe.elevation=91"),
    ("nmr_textures", "recipe.texture=0"),
    ("nmr_camera", "recipe.start=[1,2]"),
    ("nmr_camera", "recipe.start=[0,0,0]"),
    ("nmr_camera", "recipe.enough=-1"),
    ("silhouette_fit", "recipe.variants=[]"),
    ("silhouette_fit", "recipe.variants=[none,none]"),
    ("silhouette_fit", "recipe.variants=[smoth]"),
    ("silhouette_fit", "recipe.final_rate=0"),
    ("visibility_study", "recipe.tasks=[]"),
    ("visibility_study", "recipe.subdivisions=[]"),
    ("visibility_study", "recipe.subdivisions=[1.5]"),
    ("visibility_study", "recipe.views=0"),
    ("dibr_sphere", "recipe.halve_every=0"),
    ("dibr_sphere", "recipe.views_per_step=null"),
    ("mesh_texture", "recipe.radius=0"),
    ("nmr_vertices", "rasterizer.visibility=hard"),
    ("nmr_vertices", "rasterizer.softras.sigma=0"),
    ("nmr_vertices", "rasterizer.softras.dist_eps=0.7"),
    ("nmr_vertices", "rasterizer.softras.near=200"),
    ("nmr_vertices", "rasterizer.dibr.knum=0"),
    ("nmr_vertices", "rasterizer.dibr.boxlen=-1"),
    ("nmr_vertices", "rasterizer.nmr.eps=0"),
]


@pytest.mark.parametrize(("name", "word"), WRONG)
def test_a_wrong_value_is_named_and_nothing_is_made(name: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.run(options.compose("train", [f"experiment={name}", word, f"output={tmp_path}", "threads=1"]))
    assert isinstance(caught.value, ConfigError)
    assert word.partition("=")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


UNUSED = {
    "mesh_deform": ["scene=clock", "scene.root=photos", "rasterizer.visibility=nmr", "stages=[refine]", "mesh=a.glb"],
    "mesh_texture": ["field=planes", "sampler=occupancy", "trainer.rays=9", "extract.faces=9", "refine.steps=9"],
    "silhouette_fit": ["video=orbit", "video.frames=9", "stages=[export]", "mesh=a.glb"],
    "nmr_textures": ["export.units=mm", "export.cameras=[colmap]", "export.glb_cameras=[path]", "scene.length=null"],
    "nmr_draw": ["seed=1", "timelapse.snapshots=3", "export.faces=[9]", "export.formats=[glb]", "mesh=a.glb"],
    "visibility_study": ["rasterizer.visibility=nmr", "export.up=z", "timelapse.snapshots=3"],
}


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in UNUSED.items() for word in words])
def test_a_word_that_a_recipe_does_not_look_at_is_refused(name: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options.compose("train", [f"experiment={name}", word])
    said = str(caught.value).replace("'", "")  # around paths
    assert said.startswith(f"{word}: the recipe {name} does not use ") and "It uses recipe, " in said
    assert ("did you mean recipe.mesh?" in said) == (word == "mesh=a.glb" and name in ("mesh_deform", "nmr_draw"))


@pytest.mark.parametrize(
    "words",
    [
        ["nmr_draw", "recipe.elevation=-30.0"],
        ["nmr_camera", "recipe.start=[0,3,-2]", "recipe.enough=0"],
        ["silhouette_fit", "recipe.variants=[both]", "recipe.final_rate=1"],
        ["mesh_deform", "recipe.edge=0", "recipe.momentum=0", "timelapse.snapshots=3"],
        ["visibility_study", "recipe.subdivisions=[0,8]"],
        ["nmr_vertices", "rasterizer.dibr.boxlen=0"],
    ],
)
def test_values_at_the_ends_of_their_ranges_are_taken(words: list[str]) -> None:
    assert options.compose("train", [f"experiment={words[0]}", *words[1:]]).recipe.name == words[0]


def test_silhouettes_have_the_distance_floor_of_their_source() -> None:
    eps = {
        name: options.compose("train", [f"experiment={name}"]).rasterizer.nmr.eps
        for name in ("nmr_vertices", "nmr_camera")
    }
    assert eps == {"nmr_vertices": 1e-4, "nmr_camera": 1e-4}
    assert options.compose("train").rasterizer.nmr.eps == 1e-3  # with colors


def test_the_clock_is_whole() -> None:
    clock = target_mesh(None)
    report = topology_report(clock)
    assert report.components < 60  # its parts; torn apart they are thousands
    assert len(clock.faces) <= 6000
    extent = clock.vertices.amax(0) - clock.vertices.amin(0)
    assert extent.max() == pytest.approx(2, abs=1e-4)


def test_the_seen_side_of_a_face_is_lit() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    up, down = torch.tensor([[0, 2, 1]]), torch.tensor([[0, 1, 2]])
    above, below = torch.tensor([0.2, 5.0, 0.2]), torch.tensor([0.2, -5.0, 0.2])
    for faces in (up, down):
        assert torch.equal(_lit(points, faces, above), torch.ones(1, 3, 3))
        assert torch.equal(_lit(points, faces, below), torch.full((1, 3, 3), 0.5))


def test_a_mask_keeps_its_area_at_any_size(tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[5:18, 3:22, 1] = 9  # dark, but not black
    write_png(tmp_path / "mask.png", picture)
    assert target_mask(tmp_path / "mask.png", 32).sum() == 13 * 19
    assert target_mask(tmp_path / "mask.png", 8).sum() * 16 == pytest.approx(13 * 19)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_pictures_of_every_kind_are_read(mode: str, tmp_path: Path) -> None:
    white = 65535 if mode == "I;16" else "white"
    Image.new(mode, (9, 9), white).save(tmp_path / "white.png")
    assert torch.equal(target_picture(tmp_path / "white.png", 8), torch.ones(8, 8, 3))


def test_a_picture_in_floats_is_refused(tmp_path: Path) -> None:
    Image.new("F", (9, 9), 0.5).save(tmp_path / "half.tiff")
    with pytest.raises(SceneError, match=r"half\.tiff: "):
        target_picture(tmp_path / "half.tiff", 8)


def test_a_soft_mask_of_an_opaque_picture_is_its_brightness(tmp_path: Path) -> None:
    write_png(tmp_path / "gray.png", np.full((8, 8, 3), [51, 102, 0], np.uint8))
    assert target_mask(tmp_path / "gray.png", 8, soft=True).unique().tolist() == [pytest.approx(0.2)]
    assert target_mask(tmp_path / "gray.png", 8).unique().tolist() == [1]


def test_alpha_is_the_mask_and_jpeg_s_traces_are_not(tmp_path: Path) -> None:
    inside = np.zeros((64, 64, 1), np.uint8)
    inside[8:40, 16:48] = 255
    colors = {"white under": 255 - inside * 0, "black shape": inside * 0, "white on black": inside}
    for name, gray in colors.items():
        write_png(tmp_path / f"{name}.png", np.concatenate([gray.repeat(3, -1), inside], -1))
    write_png(tmp_path / "gray.png", np.concatenate([inside * 0, inside], -1))
    iio.imwrite(tmp_path / "lossy.jpg", inside.repeat(3, -1), quality=60)
    shape = inside[..., 0]
    indexed = Image.fromarray((shape > 0).astype(np.uint8), "P")
    indexed.putpalette([9, 9, 9, 200, 100, 50])
    indexed.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    Image.fromarray(np.where(shape > 0, 90, 7).astype(np.uint8)).save(tmp_path / "a clear gray.png", transparency=7)
    clear = Image.fromarray(np.where(inside > 0, np.uint8([9, 9, 9]), np.uint8([1, 2, 3])))
    clear.save(tmp_path / "a clear color.png", transparency=(1, 2, 3))
    for path in tmp_path.iterdir():
        for soft in (False, True):
            mask = target_mask(path, 32, soft)
            assert float(mask.mean()) == pytest.approx(0.25, abs=0.005), path.name
            assert float(mask[6:18, 10:22].min()) > 0.9, path.name
    assert torch.equal(target_picture(tmp_path / "white under.png", 64)[..., 0], torch.from_numpy(inside[..., 0] / 255))
