"""What the two commands can be told: every group's options, and those outside of groups."""

from dataclasses import dataclass
from typing import Any, ClassVar

from nerfkit.fit.extract import ExtractOptions
from nerfkit.fit.field_options import TrainerOptions
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.mesh.files.io import WRITTEN
from nerfkit.mesh.files.pictures import ENDINGS, Encoding
from nerfkit.raster.visibility import RasterizerOptions
from nerfkit.runs.checkpoints import KINDS
from nerfkit.scenes import SceneOptions
from nerfkit.scenes.frame import AXES
from nerfkit.scenes.placement import UNITS
from nerfkit.scenes.writers import WRITERS
from nerfkit.schema import Options, nested, option
from nerfkit.view.options import TimelapseOptions, VideoOptions

STAGES = ("field", "extract", "refine", "texture", "export", "video")
FINISHING = ("refine", "texture")  # stages that make the run's finished mesh: one of them
DEVICES = ("auto", "cpu", "cuda")
VIEWERS = ("off", "on", "stay")
MOST_SEED = 2**63 - 1
MOST_SEED_OF_A_RECIPE = 2**62 - 1  # recipes count on from the seed


@dataclass
class ExportOptions(Options):
    """The files of the finished mesh."""

    group: ClassVar[str] = "export"

    formats: list[str] | None = option(
        ["glb", "obj", "ply"],
        "in the scene's own units, or in meters with scene.length; stl, for printing, has no colors; usd and usdz, for "
        "phones, need the extra nerfkit[usd]",
        choices=WRITTEN,
    )
    scale: float = option(1.0, "multiplies the coordinates of these files, such as 1000 from meters to mm", above=0)
    units: str | None = option(
        None,
        "of obj, ply, stl and cameras in place of meters, with scene.length; glb and usd are in meters",
        choices=UNITS,
    )
    up: str = option(
        "scene", "axis of obj, ply, stl and cameras that points up; of glb and usd it is y", choices=("scene", *AXES)
    )
    faces: list[int] = option([], "coarser copies besides, each of at most so many faces: mesh_FACES.*", least=4)
    points: int = option(
        0, "points of the surface with normals and colors, mesh/points.ply; 0: none", least=0, most=10**8
    )
    texture: str = option(
        "png", "of glb, obj and usd: png is exact, the others are smaller; usd knows no webp", choices=tuple(ENDINGS)
    )
    quality: int = option(90, "of texture=jpeg and webp", least=1, most=100)
    material: str = option(
        "unlit",
        "of glb: its colors as they are; pbr: rough and metallic, for viewers to light",
        choices=("unlit", "pbr"),
    )
    glb_cameras: list[str] = option(
        [],
        "beside the mesh of glb: the photos' cameras, the video's path as one that moves",
        choices=("photos", "path"),
    )
    cameras: list[str] = option(
        [], "folders of undistorted photos with their cameras, RUN/cameras/FORMAT", choices=tuple(WRITERS)
    )

    def check(self) -> None:
        super().check()
        formats = self.formats or []
        known = self.texture != "webp" or not {"usd", "usdz"} & set(formats)
        self.expect("texture", known, "png or jpeg with usd and usdz in export.formats, which know no WebP")
        self.expect("glb_cameras", not self.glb_cameras or "glb" in formats, "[] without glb in export.formats")
        for name in ("faces", "points"):
            self.expect(name, not getattr(self, name) or bool(formats), "export.formats to write a mesh in")

    @property
    def encoding(self) -> Encoding:
        """How textures are packed."""
        return Encoding(self.texture, self.quality)


@dataclass
class TrainOptions(Options):
    """``train.py``: every stage of a run, or a recipe in place of the stages."""

    recipe: Any = option(None, "an experiment that fits meshes in a way of its own chooses one; null: none")
    budget: float = option(1.0, "share of a recipe's steps to do", above=0)
    timelapse: TimelapseOptions = nested(TimelapseOptions)
    stages: list[str] = option(
        [name for name in STAGES if name != "texture"],
        "to run, in this order; texture, in the place of refine: the photos' texture on a mesh whose shape stays",
        choices=STAGES,
    )
    seed: int = option(0, "of everything random", least=0, most=MOST_SEED)
    threads: int | None = option(
        None, "CPU threads; null: as many as a short measurement finds worth having (kept for resume)", least=1
    )
    device: str = option("auto", "cuda names an AMD GPU, too", choices=DEVICES)
    viewer: str = option(
        "off",
        "on: a browser shows what the run has made so far (nerfkit[view]), until it ends; stay: and then until Ctrl-C",
        choices=VIEWERS,
    )
    viewer_port: int = option(8080, "of this machine alone, where viewer listens", least=1, most=65535)
    resume: str | None = option(
        None,
        "a run folder to go on with: its config.yaml, with the values given here on top; auto: the newest unfinished",
        path=True,
    )
    output: str = option(
        "outputs", "run folders are OUTPUT/SCENE/DATE_TIME; OUTPUT/SCENE/latest names the newest", path=True
    )
    mesh: str | None = option(
        None,
        "a mesh to texture and refine in the place of one from a field, in the scene's own units: the stages field and "
        "extract are left out",
        path=True,
    )
    scene: SceneOptions = nested(SceneOptions)
    field: Any = option(None, "out of nerfkit.fields.FIELDS")
    sampler: Any = option(None, "out of nerfkit.volume.SAMPLERS")
    trainer: TrainerOptions = nested(TrainerOptions)
    extract: ExtractOptions = nested(ExtractOptions)
    rasterizer: RasterizerOptions = nested(RasterizerOptions)
    refine: RefineOptions = nested(RefineOptions)
    export: ExportOptions = nested(ExportOptions)
    video: VideoOptions = nested(VideoOptions)

    def check(self) -> None:
        super().check()
        one = not {*FINISHING} <= {*self.stages}
        self.expect("stages", one, "refine, which moves the mesh, or texture, which leaves its shape as it is")
        written = self.recipe is not None or "export" not in self.stages or self.export.formats or self.export.cameras
        self.export.expect("formats", bool(written), "some of glb, obj, ply, stl, or export.cameras to be written")
        known = self.export.units is None or self.scene.length is not None
        self.export.expect(
            "units", known, "null, or scene.length=[p,q,meters] besides, for nothing else says how long a unit is"
        )
        counted = self.recipe is None or self.seed <= MOST_SEED_OF_A_RECIPE
        self.expect("seed", counted, "a whole number from 0 to 2^62 - 1, as recipes count on from it")


@dataclass
class RenderOptions(VideoOptions):
    """``render.py``: videos of a trained run. Frames are written one by one: a stopped render goes on where it was."""

    group: ClassVar[str] = ""

    frames: int | None = option(120, "of the whole path; null: as many as the file's path lasts", least=1)
    run: str | None = option(None, "a run folder, or OUTPUT/SCENE/latest", path=True)
    output: str | None = option(None, "folder for the videos and their frames; null: RUN/video", path=True)
    checkpoint: str = option(
        "last", "of the field; best: what did best on a held-out photo (trainer.keep_best)", choices=tuple(KINDS)
    )
    device: str = option("auto", "cuda names an AMD GPU, too", choices=DEVICES)
