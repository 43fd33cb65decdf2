"""What the commands say of themselves."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

import nerfkit
from nerfkit import cli, options, store
from nerfkit.__main__ import main
from tests.conftest import Command

pytestmark = pytest.mark.slow  # a second or more a test: whole commands, training steps

ROOT = Path(__file__).parent.parent


def test_hydra_explains_itself_and_nerfkit_its_version(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(cli.train, "--hydra-help") == 0
    assert "Hydra" in capsys.readouterr().out
    assert command(main, "--version") == 0
    assert capsys.readouterr().out == f"nerfkit {nerfkit.__version__}\n"
    assert command(cli.train, "--version") == 0
    assert capsys.readouterr().out == f"nerfkit {nerfkit.__version__}, with Hydra {hydra.__version__}\n"


@pytest.mark.parametrize("words", ["train --help", "doctor"])
def test_a_reader_that_leaves_is_no_error(words: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "nerfkit", *words.split()], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b"" and child.wait() == 141


def test_help_lists_groups_and_keys(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command(cli.train, "--help") == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    keys = re.findall(r"^  ([a-z_.0-9]+)=", text, re.MULTILINE)
    every = {leaf.key for leaf in store.leaves(OmegaConf.structured(options.compose("train")))}
    assert every - set(keys) == {"scene.name", "field.name", "sampler.name"}  # chosen by scene=NAME
    assert re.search(r"preset=fast +A mesh in half a minute on two cores", text)
    assert re.search(r"experiment=nmr_draw +Neural 3D Mesh Renderer, example 1", text)
    assert text.index("\nscene: ") < text.index("\nfield: ") < text.index("\nrefine: ") < text.index("\nvideo: ")
    assert command(cli.train, "--help", "sampler=stratified", "seed=7") == 0
    text = capsys.readouterr().out
    assert "sampler.count=128" in text and "sampler.hull" not in text and "  seed=7 " in text
    assert command(cli.train, "--help", "sampler=stratifed") == 2
    assert command(cli.render, "--help") == 0
    assert "elevation=20.0" in capsys.readouterr().out


def test_help_of_a_group_or_a_key_leaves_nothing_out(command: Command, capsys: pytest.CaptureFixture) -> None:
    assert command(cli.train, "--help", "trainer", "preset=smoke") == 0
    text = capsys.readouterr().out
    assert "extract." not in text and re.search(r"trainer.max_steps=200 ", text)
    assert re.search(r"trainer.max_seconds=null .*\n.*\n? .*\(a number above 0, or\s+null\)\n", text)
    assert command(main, "options", "field", "rasterizer.dibr") == 0
    text = capsys.readouterr().out
    assert re.search(r"field=planes +Features as products", text) and "rasterizer.dibr.knum" in text
    assert "rasterizer.nmr" not in text
    capsys.readouterr()
    assert command(cli.train, "--help", "trainr") == 2
    assert capsys.readouterr().err.startswith("error: --help trainr: no such group or key; did you mean trainer?")


def test_nerfkit_names_its_commands(command: Command, runs: list[Any], capsys: pytest.CaptureFixture) -> None:
    assert command(main) == 0
    assert "doctor" in capsys.readouterr().out
    assert command(main, "docter") == 2
    assert (
        capsys.readouterr().err == "error: docter: unknown command; did you mean doctor? "
        "Known: train, render, prepare, synthesize, eval, verify, report, compare, runs, view, options, doctor, "
        "completion\n"
    )
    assert command(main, "train", "seed=6", "preset=smoke") == 0
    assert runs[0].seed == 6
