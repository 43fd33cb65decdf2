from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from nerfkit import options
from nerfkit.errors import ConfigError
from nerfkit.view.colors import CHANNELS
from nerfkit.view.paths import PATHS

CONF = Path(options.__file__).parent.parent / "conf"


def test_the_defaults_compose() -> None:
    config = options.compose("train")
    assert config.stages == list(options.STAGES)
    assert config.scene.name == "clock"
    assert (config.seed, config.device, config.resume, config.output) == (0, "auto", None, "outputs")
    assert options.compose("render").run is None


def groups() -> list[str]:
    return sorted(f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml"))


@pytest.mark.parametrize("group", groups())
def test_every_option_of_every_group_composes(group: str) -> None:
    root = ["scene.root=somewhere"] if group.startswith("scene=") and group != "scene=clock" else []
    options.compose("train", [group, *root])


def test_no_config_names_code_to_run() -> None:
    files = list(CONF.rglob("*.yaml"))
    assert len(files) > 10
    assert not [path for path in files if "_target_" in path.read_text()]


def test_values_take_their_place() -> None:
    config = options.compose("train", ["trainer.max_seconds=2.5", "stages=[field,video]", "video=wave", "video.fps=12"])
    assert (config.trainer.max_seconds, config.stages, config.video.path) == (2.5, ["field", "video"], "wave")
    assert config.video.fps == 12
    assert options.compose("train", ["trainer.max_seconds=null", "trainer.max_steps=5"]).trainer.max_seconds is None


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
        ("~seed", r"~seed: a key cannot be removed"),
        ("~scene", r"~scene: a group cannot be removed"),
        ("clock", r"'clock' is not an override; expected KEY=VALUE"),
        ("seed=[", r"'seed=\[' is not a valid override"),
        ("seed=1,2", r"several values. For a list write seed=\[1,2\]; to run once with each, add -m"),
        ("trainer.max_seconds=abc", r"trainer.max_seconds=abc: expected a number"),
        ("trainer.max_steps=1.5", r"trainer.max_steps=1.5: expected a whole number"),
        ("trainer.max_steps=true", r"trainer.max_steps=true: expected a whole number"),
        ("trainer.max_steps=-3", r"trainer.max_steps=-3: expected a number greater than 0"),
        ("seed=null", r"seed=null: expected a whole number, such as 0"),
        ("output=7", r"output=7: expected text, such as outputs"),
        ("stages=field", r"stages=field: expected a list, such as \[field,extract"),
        ("stages=[field,extrat]", r"stages: unknown value extrat; did you mean extract\?"),
        ("stages=[]", r"stages=\[\]: expected at least one of field"),
        ("stages=[1]", r"stages=\[1\]: expected text in place of 1"),
        ("device=gpu", r"device: unknown value gpu.* Known: auto, cpu, cuda"),
        ("video.path=orbt", r"video.path: unknown value orbt; did you mean orbit\?"),
        ("video.frames=0", r"video.frames=0: expected a number greater than 0"),
        ("preset=gup", r"preset=gup: unknown preset; did you mean gpu\?"),
    ],
)
def test_bad_words_are_explained(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options.compose("train", [word])


def test_a_mandatory_value_is_asked_for() -> None:
    config = OmegaConf.create({"scene": {"root": "???"}})
    with pytest.raises(ConfigError, match=r"scene.root: needs a value; add scene.root=\.\.\. to the command"):
        options.check_values(config, config)
    options.check_values(OmegaConf.create({"scene": {"root": "a"}}), config)


def test_choices_are_those_of_the_rooms() -> None:
    assert options.VIDEO_CHOICES["path"] == tuple(PATHS)
    assert options.VIDEO_CHOICES["channels"] == CHANNELS


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
