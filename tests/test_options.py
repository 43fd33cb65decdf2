"""Options: declarations and their checks, composing, presets, sweeps, words that are explained."""

import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from omegaconf import OmegaConf

from nerfkit import describe, hydra_words, options, recipes, store
from nerfkit.config import RenderOptions, TrainOptions
from nerfkit.errors import ConfigError
from nerfkit.schema import Options, option
from nerfkit.view.options import VideoOptions

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"


@dataclass
class Planet(Options):
    group: ClassVar[str] = "planet"

    name: str = "earth"
    radius: float = option(1.0, "in normalized units", above=0)
    moons: int | None = option(None, "how many", least=0, most=2**63 - 1)
    inhabited: bool = option(True, "by anyone")
    colors: list[str] = option(["blue"], "seen from far away", choices=("blue", "green", "white"))
    axis: list[float] = option([0.0, 1.0, 0.0], "of its turns")
    file: str | None = option(None, "its map", path=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"radius": 0}, "planet.radius=0: expected a number above 0, such as 1.0"),
        ({"radius": "wide"}, "planet.radius=wide: expected a number above 0, such as 1.0"),
        ({"radius": True}, "planet.radius=true: expected a number above 0, such as 1.0"),
        ({"radius": None}, "planet.radius=null: expected a number above 0, such as 1.0"),
        ({"radius": math.inf}, "planet.radius=inf: expected a finite number, such as 1.0"),
        ({"moons": -1}, "planet.moons=-1: expected a whole number from 0 to 2^63 - 1, or null"),
        ({"moons": 1.5}, "planet.moons=1.5: expected a whole number from 0 to 2^63 - 1, or null"),
        ({"inhabited": 1}, "planet.inhabited=1: expected true or false"),
        ({"colors": []}, "planet.colors=[]: expected at least one of blue, green, white"),
        ({"colors": "blue"}, "planet.colors=blue: expected a list, such as [blue]"),
        (
            {"colors": ["blue", "gren"]},
            "planet.colors=[blue,gren]: unknown value gren; did you mean green? Known: blue",
        ),
        ({"colors": ["blue", "blue"]}, "planet.colors=[blue,blue]: expected each value once"),
        ({"axis": [0, "up"]}, "planet.axis=[0,up]: expected a list, each a number, such as [0.0,1.0,0.0]"),
        ({"file": ""}, "planet.file=: expected a path, or null"),
        ({"file": 3}, "planet.file=3: expected a path, or null"),
    ],
)
def test_a_value_is_held_against_its_declaration(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Planet(**values)
    assert str(caught.value).startswith(message)


def test_values_that_fit() -> None:
    Planet(radius=2, moons=0, colors=["white", "blue"], axis=[1.0, 1.0, 0.0], file="a b")
    assert Planet().colors is not Planet().colors


def test_every_declaration_holds_its_own_default() -> None:
    recipes.load()
    classes = {TrainOptions, RenderOptions, *(made for registry in store.registries() for made in registry.values())}
    for made in classes:
        made()
        for leaf in store.leaves(OmegaConf.structured(made)):
            assert leaf.declared.name == "name" or leaf.declared.metadata["meaning"], leaf.key


def test_the_page_of_options_is_current() -> None:
    assert (ROOT / "docs" / "options.md").read_text() == describe.tables(), (
        "python -m nerfkit options > docs/options.md"
    )


def test_the_defaults_compose() -> None:
    config = options.compose("train")
    assert isinstance(config, TrainOptions)
    assert config.stages == ["field", "extract", "refine", "export", "video"]
    assert config.scene.name == "clock"
    assert (config.seed, config.device, config.resume, config.output) == (0, "auto", None, "outputs")
    assert options.compose("render").run is None


def test_what_was_composed_once_is_not_changed_by_who_got_it() -> None:
    for words in (["preset=smoke"], ["preset=smoke", "seed=3"]):
        first, before = (options.compose("train", words) for _ in range(2))
        first.trainer.max_steps, first.field.width = 1, 1
        first.stages.append("nothing")
        assert options.compose("train", words) == before != first


def test_a_video_has_one_declaration() -> None:
    rendered, trained = options.compose("render"), options.compose("train").video
    assert isinstance(rendered, VideoOptions) and (rendered.frames, trained.frames) == (120, 60)
    shared = {key: value for key, value in asdict(trained).items() if key != "frames"}
    assert shared.items() <= asdict(rendered).items()


@pytest.mark.slow
@pytest.mark.parametrize("group", describe.GROUPS)
def test_every_option_of_every_group_composes(group: str) -> None:
    store.register()
    with hydra_words.hydra_here():
        names = hydra_words.group_options(group)
    assert names
    for name in names:
        further = ["experiment=nmr_draw"] if group in ("recipe", "preset") else []
        options.compose("train", [f"{group}={name}", *further])


def test_no_config_names_code_to_run() -> None:
    files = list(CONF.rglob("*.yaml"))
    assert len(files) > 10
    assert not [path for path in files if "_target_" in path.read_text()]


def test_photos_are_not_the_clock_and_one_value_is_a_list_of_one() -> None:
    assert options.compose("train", ["scene.root=photos"]).scene.name == "auto"
    assert options.compose("train", ["scene=kaolin", "scene.root=photos"]).scene.name == "kaolin"
    assert options.compose("train", ["scene.root=null"]).scene.name == "clock"
    assert options.compose("train", ["stages=field", "video.format=mp4,gif"]).stages == ["field"]
    assert options.compose("render", ["format=mp4,gif"]).format == ["mp4", "gif"]
    assert options.compose("train", ["export.formats=null", "export.cameras=colmap"]).export.formats is None
    jobs = options.expand(options.prepared("render", ["format=mp4,gif", "frames=1,2"], sweep=True))
    assert jobs == [[f"format=[{name}]", f"frames={frames}"] for name in ("mp4", "gif") for frames in (1, 2)]


def test_a_sweep_of_lists_is_written_with_or_without_brackets() -> None:
    for values in ("glb,[ply,obj]", "[glb],[ply,obj]", "choice([glb],[ply,obj])"):
        jobs = options.expand(options.quoted("train", [f"export.formats={values}"], sweep=True))
        assert jobs == [["export.formats=[glb]"], ["export.formats=[ply,obj]"]]


def test_smoke_is_short_whatever_the_experiment_asks_for() -> None:
    config = options.compose("train", ["experiment=nerf_tutorial", "preset=smoke"])
    assert (config.trainer.max_steps, config.trainer.rays, config.trainer.samples) == (200, None, 8192)
    assert (config.field.width, config.trainer.decay) == (256, "step")  # the rest is the experiment's


def test_values_take_their_place() -> None:
    config = options.compose("train", ["trainer.max_seconds=2.5", "stages=[field,video]", "video=wave", "video.fps=12"])
    assert (config.trainer.max_seconds, config.stages, config.video.path) == (2.5, ["field", "video"], "wave")
    assert config.video.fps == 12
    assert options.compose("train", ["trainer.max_seconds=5", "trainer.max_steps=null"]).trainer.max_steps is None


EMPTY = [
    (word, f"^{re.escape(word)}: there is nothing on one side of a comma; expected {re.escape(meant)}$")
    for word, meant in {
        "stages=field,": "stages=field",
        "stages=field,,video": "stages=field,video",
        "stages=[field],": "stages=[field]",
        "stages=[,field]": "stages=[field]",
        "export.faces=9,": "export.faces=9",
        "seed=,1": "seed=1",
        "preset=fast,": "preset=fast",
        "field=,": "a value on both sides",
    }.items()
]
TWICE = [
    (f"{group}={one} {group}={other}", f"{group}={one} {group}={other}: {group} is chosen twice; expected one of the")
    for group, one, other in (
        ("preset", "fast", "minute"),
        ("field", "planes", "hash_grid"),
        ("scene", "clock", "kaolin"),
        ("experiment", "refine", "nerf_tutorial"),
    )
]


@pytest.mark.parametrize(("words", "message"), EMPTY + TWICE)
def test_a_sweep_s_slips_are_explained(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options.expand(options.prepared("train", words.split(), sweep=True))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("scene=clok", r"scene=clok: unknown scene; did you mean clock\? Known: .*clock"),
        ("scene=zzzzzz", r"scene=zzzzzz: unknown scene\. Known: .*clock"),
        ("scene=null", r"scene=null: unknown scene"),
        ("trainer.max_second=3", r"trainer.max_second: unknown key; did you mean trainer.max_seconds\?"),
        ("max_steps=3", r"max_steps: unknown key; did you mean trainer.max_steps\?"),
        ("sead=3", r"sead: unknown key; did you mean seed\? Known: .*stages.*scene"),
        ("+color=red", r"color: unknown key"),
        ("++trainer.speed=9", r"trainer.speed: unknown key"),
        ("~seed", r"~seed: cannot be removed; give it another value"),
        ("~scene", r"~scene: cannot be removed"),
        ("clock", r"'clock' is not an override; did you mean scene=clock\?"),
        ("tests", r"'tests' is not an override; did you mean scene.root=tests or resume=tests or run=tests\?"),
        ("minute", r"did you mean preset=minute\?"),
        ("scene:kaolin", r"did you mean scene=kaolin\?"),
        ("trainer.max_steps 5", r"'trainer.max_steps' is not an override; expected trainer.max_steps=5"),
        ("preset", r"'preset' is not an override; expected preset=VALUE"),
        ("preset=", r"preset=: unknown preset\. Known: .*fast"),
        ("=5", r"'=5' is not an override"),
        ("root=x", r"root: unknown key; did you mean scene.root\?"),
        ("steps=5", r"steps: unknown key; did you mean refine.steps( or |\?)"),
        ("width=5", r"width: unknown key; did you mean (field|video).width or "),
        ("Scene=clock", r"Scene: unknown key; did you mean scene\?"),
        ("TRAINER.MAX_STEPS=5", r"did you mean trainer.max_steps\?"),
        ("scene/root=x", r"scene/root: unknown key; did you mean scene.root\?"),
        ("scene=CLOCK", r"scene=CLOCK: unknown scene; did you mean clock\?"),
        ("experiment=dibr", r"experiment=dibr: unknown experiment; did you mean dibr_sphere\?"),
        ("stages=[field,extract", r"is not a valid override: a bracket has no other half; a shell wants quotes"),
        ("nothing", r"'nothing' is not an override; expected KEY=VALUE, as in scene=clock"),
        ("scene.root = x", r"'scene.root' is not an override; expected KEY=VALUE without spaces around ="),
        ("seed=[", r"'seed=\[' is not a valid override: [^{]*$"),
        ("scene=clock,auto", r"scene=clock,auto: several values. To run once with each, add -m\.$"),
        ("seed=1,2", r"several values. For a list write seed=\[1,2\]; to run once with each, add -m"),
        ("trainer.max_seconds=abc", r"trainer.max_seconds=abc: expected a number above 0, or null"),
        ("trainer.max_steps=1.5", r"trainer.max_steps=1.5: expected a whole number"),
        ("trainer.max_steps=true", r"trainer.max_steps=true: expected a whole number"),
        ("trainer.max_steps=-3", r"trainer.max_steps=-3: expected a whole number of at least 1, or null"),
        ("seed=null", r"seed=null: expected a whole number from 0 to 2\^63 - 1, such as 0"),
        ("output=null", r"output=null: expected a path, such as outputs"),
        ("field.target=0.01", r"field.target: unknown key; did you mean field\..*\? Known: .*field.width"),
        ("extract.resolution=null", r"extract.resolution=null: expected a whole number from 4 to 1024, such as 192"),
        ("refine.views_per_step=null", r"refine.views_per_step=null: expected a whole number of at least 1, such as 2"),
        ("field.name=other", r"field.name=other: cannot be set; choose another field with field=other"),
        ("trainer=null", r"trainer=null: unknown trainer"),
        ("rasterizer.nmr={eps:3}", r"rasterizer.nmr holds several values; set one of rasterizer.nmr.eps"),
        ("scene.background=blak", r"scene.background=blak: unknown color; did you mean black\?"),
        ("scene.background=[0,1]", r"scene.background=\[0,1\]: expected black or white, or three numbers in \[0,1\]"),
        ("stages=[field,extrat]", r"stages=\[field,extrat\]: unknown value extrat; did you mean extract\?"),
        ("stages=[]", r"stages=\[\]: expected at least one of field"),
        ("stages=[1]", r"stages=\[1\]: unknown value 1"),
        ("device=gpu", r"device=gpu: unknown value gpu; did you mean cuda\? Known: auto, cpu, cuda"),
        ("video.path=orbt", r"video.path=orbt: unknown value orbt; did you mean orbit\?"),
        ("video.frames=0", r"video.frames=0: expected a whole number of at least 1, or null, such as 60"),
        ("hydra.run.dir=x", r"hydra.run.dir=x: not used here; output=FOLDER says where runs go"),
        ("hydra.searchpath=[file://x]", r"hydra.searchpath=.*: not used here; --config-dir FOLDER adds"),
        ("scene.root=x scene=clock", r"scene.root=x: expected null with scene=clock"),
        ("preset=gup", r"preset=gup: unknown preset; did you mean gpu\?"),
        ("stages=field;video", r"not a valid override: expected some of field, .*, such as \[field,extract"),
        *EMPTY,
        *TWICE,
    ],
)
def test_bad_words_are_explained(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options.compose("train", word.split())


@pytest.mark.parametrize("gpu", [False, True])
def test_preset_auto_follows_the_device(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    automatic = "preset=gpu" if gpu else "preset=cpu"
    assert options.with_preset(["seed=1"]) == [automatic, "seed=1"]
    assert options.with_preset(["preset=auto"]) == [automatic]
    assert options.with_preset(["preset=smoke"]) == ["preset=smoke"]
    assert options.with_preset(["device=cpu"]) == ["preset=cpu", "device=cpu"]


def test_a_preset_changes_the_groups_and_a_word_changes_the_preset() -> None:
    smoke = options.compose("train", ["preset=smoke"]).video.frames
    assert smoke < options.compose("train", ["preset=cpu"]).video.frames
    assert options.compose("train", ["preset=smoke", "video.frames=7"]).video.frames == 7


def test_a_sweep_expands_to_its_jobs() -> None:
    jobs = list(options.expand(["seed=1,2", "scene=clock", "video.fps=range(1,3)", "stages=[field,video]"]))
    assert jobs == [
        [f"seed={seed}", "scene=clock", f"video.fps={fps}", "stages=[field,video]"] for seed in (1, 2) for fps in (1, 2)
    ]


def test_old_names_of_keys_are_taken() -> None:
    config = options.compose("train", ["experiment=visibility_study", "recipe.colour_rate=0.5"])
    assert config.recipe.color_rate == 0.5
    for new in options.RENAMED.values():
        assert new in {f"recipe.{f.name}" for made in recipes.RECIPES.values() for f in fields(made)}
