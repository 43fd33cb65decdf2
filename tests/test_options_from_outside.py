"""Options from outside: what suits a preset, fields of plug-ins, folders of more configs, paths letter for letter."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from nerfkit import options, store
from nerfkit.errors import ConfigError
from nerfkit.fields import FIELDS
from nerfkit.schema import Options, literal, option

CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture
def other_field() -> Any:
    """A field that a user's module registers."""

    @FIELDS.register
    @dataclass
    class OtherOptions(Options):
        suits: ClassVar[dict] = {"smoke": {"cells": 4}}

        name: str = "other"
        cells: int = option(64, "along each side", least=1)
        weights: str | None = option(None, "to start from", path=True)

    yield OtherOptions
    del FIELDS["other"]
    ConfigStore.instance().repo["field"].pop("other.yaml", None)


@pytest.mark.slow
def test_a_preset_brings_what_suits_the_chosen_field_and_sampler() -> None:
    gpu = options.compose("train", ["preset=gpu"])
    assert (gpu.field.width, gpu.field.depth, gpu.field.octaves, gpu.sampler.step_size) == (128, 4, 10, 0.006)
    assert options.compose("train", ["preset=gpu", "field.width=32"]).field.width == 32
    assert options.compose("train", ["preset=smoke"]).sampler.resolution == 64
    other = options.compose("train", ["preset=gpu", "sampler=stratified"])
    assert asdict(other.sampler) == asdict(options.compose("train", ["preset=cpu", "sampler=stratified"]).sampler)
    tutorial = options.compose("train", ["preset=gpu", "experiment=nerf_tutorial"])
    assert (tutorial.field.width, tutorial.field.octaves, tutorial.sampler.name) == (256, 60, "stratified")


def test_no_preset_writes_into_a_group_of_which_there_are_several() -> None:
    for path in (CONF / "preset").glob("*.yaml"):
        assert not {"field", "sampler", "recipe"} & set(OmegaConf.load(path))


@pytest.mark.slow
def test_a_field_from_elsewhere_is_chosen_by_its_name(other_field: type) -> None:
    config = options.compose("train", ["field=other", "preset=gpu", "field.weights=a,b"])
    assert isinstance(config.field, other_field)
    assert (config.field.cells, config.field.weights) == (64, "a,b")
    assert options.compose("train", ["field=other", "preset=smoke"]).field.cells == 4
    with pytest.raises(ConfigError, match=r"field.cells=0: expected a whole number of at least 1"):
        options.compose("train", ["field=other", "field.cells=0"])
    with pytest.raises(ConfigError, match=r"field.width: unknown key"):
        options.compose("train", ["field=other", "field.width=3"])


def test_installed_plug_ins_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "planets.py").write_text("LOADED = True\n")
    about = tmp_path / "planets-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: planets\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[nerfkit]\nplanets = planets\n")
    monkeypatch.syspath_prepend(tmp_path)
    store.load_plugins.cache_clear()
    options.compose("train")
    assert sys.modules.pop("planets").LOADED
    (tmp_path / "planets.py").write_text("import nothing_of_that_name\n")
    store.load_plugins.cache_clear()
    with pytest.raises(ConfigError, match=r"plug-in planets \(planets\) cannot be imported: No module named 'nothing"):
        options.compose("train")
    store.load_plugins.cache_clear()


@pytest.fixture
def more(tmp_path: Path) -> Any:
    """Writes a config file into a folder of more configs, and returns the folder."""

    def write(name: str, content: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return str(tmp_path)

    return write


@pytest.mark.slow
def test_a_folder_of_more_configs(more: Any) -> None:
    more("field/mine.yaml", "defaults: [harmonic]\nwidth: 32\n")
    more("trainer/mine.yaml", "max_steps: 7\nhuber: 2\n")
    place = more("experiment/mine.yaml", "# @package _global_\nscene: {resolution: 99}\n")
    words = ["field=mine", "trainer=mine", "experiment=mine", "field.depth=2"]
    config = options.compose("train", words, place)
    assert (config.field.width, config.field.depth, config.trainer.max_steps) == (32, 2, 7)
    assert (config.trainer.huber, config.scene.resolution) == (2.0, 99)
    with pytest.raises(ConfigError, match=r"field=mien: unknown field; did you mean mine\?"):
        options.compose("train", ["field=mien"], place)
    with pytest.raises(ConfigError, match=r"nowhere: no such folder"):
        options.compose("train", [], "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trainer: {max_step: 7}", r"mine.yaml: trainer.max_step: unknown key; did you mean trainer.max_steps\?"),
        (
            "trainer: {max_steps: many}",
            r"mine.yaml: trainer.max_steps: .*many.*; expected a whole number of at least 1",
        ),
        ("trainer: {max_steps: 0}", r"trainer.max_steps=0: expected a whole number of at least 1, or null"),
        ("trainer: {samples: null}", r"mine.yaml: trainer.samples: .*; expected a whole number of at least 1"),
        ("field: {_target_: os.remove}", r"mine.yaml: field._target_: unknown key"),
        ("trainer: [", r"mine.yaml"),
        ("trainer: 3", r"mine.* 3"),
        ("seed: '${nope}'", r"seed: .*nope.*; expected a whole number"),
        ("defaults: [{/scene: nope}]", r"'scene/nope'"),
    ],
)
def test_a_mistake_in_a_config_file_is_explained(more: Any, content: str, message: str) -> None:
    place = more("experiment/mine.yaml", f"# @package _global_\n{content}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        options.compose("train", ["experiment=mine"], place)
    assert "\n" not in str(caught.value)


def test_a_field_of_a_file_names_its_class(more: Any) -> None:
    place = more("field/mine.yaml", "name: harmonic\nwidth: 32\n")
    with pytest.raises(ConfigError, match=r"file of field harmonic has no class; add to it: defaults: \[harmonic\]"):
        options.compose("train", ["field=mine", "field.depth=2"], place)


PATHS = [
    *("素材", "lego (1)", "2024", "1e3", "true", "~/lego", "it's", "${x}", "\\${x}", "a${oc.env:HOME}", "a b", " a "),
    *(
        "a,b",
        "[a]",
        "{a: b}",
        "a=b",
        'say "hi"',
        'it\'s "x"',
        "back\\",
        "\\\\",
        "a\\'b",
        "$HOME",
        "#1",
        "100%",
        "a;b",
        "nul",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_taken_letter_for_letter(path: str) -> None:
    config = options.compose("train", [f"{key}={path}" for key in ("scene.root", "output", "resume", "mesh")])
    assert (config.scene.root, config.output, config.resume, config.mesh) == (path,) * 4
    config = options.compose("train", ["experiment=nmr_camera", f"recipe.mesh={path}", f"recipe.target={path}"])
    assert (config.recipe.mesh, config.recipe.target) == (path,) * 2
    rendered = options.compose("render", [f"run={path}", f"output={path}"])
    assert (rendered.run, rendered.output) == (path, path)
    assert OmegaConf.create({"x": literal(path)}).x == path


@pytest.mark.slow
def test_quotes_around_a_path_are_not_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("'my photos'", '"my photos"', "my photos"):
        assert options.compose("train", [f"scene.root={word}"]).scene.root == "my photos"
    (tmp_path / "'my photos'").touch()
    assert options.compose("train", ["scene.root='my photos'"]).scene.root == "'my photos'"


def test_null_stays_null() -> None:
    assert options.compose("train", ["scene.root=null"]).scene.root is None


@pytest.mark.slow
def test_a_comma_in_a_path_separates_only_in_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def roots(word: str) -> list[str | None]:
        jobs = options.expand(options.prepared("train", [word, "seed=1,2"], sweep=True))
        return [options.checked("train", job).scene.root for job in jobs]

    assert roots("scene.root=it's,b c") == ["it's", "it's", "b c", "b c"]
    assert roots("scene.root=null,b") == [None, None, "b", "b"]
    (tmp_path / "it's,b c").touch()
    assert roots("scene.root=it's,b c") == ["it's,b c"] * 2
