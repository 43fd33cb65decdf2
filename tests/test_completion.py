"""The words that shells offer at Tab, by the scripts that ``python -m nerfkit completion`` prints."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nerfkit.completion import SCRIPTS, script
from nerfkit.errors import ConfigError

OFFERED = {
    "python train.py scene=k": ["kaolin"],
    "python train.py scene=clock trainer.max_s": ["trainer.max_seconds=", "trainer.max_steps="],
    "nerfkit-train pres": ["preset="],
    "nerfkit train field": ["field.", "field="],
    "./train.py device=": ["auto", "cpu", "cuda"],
    "python render.py path=or": ["orbit"],
    "python render.py preset": [],
    "python train.py sampler.na": [],
    "python -m nerfkit do": ["doctor"],
    "nerfkit doctor do": [],
    "python other.py sc": [],
    "python train.py scene.root=/": [],
}


ASKED = {
    "bash": "COMP_LINE='{line}' COMP_POINT={count}; _nerfkit; echo \"${{COMPREPLY[*]}}\"",
    "zsh": "COMP_LINE='{line}' COMP_POINT={count}; compgen -F _nerfkit -- '{word}' | tr '\\n' ' '; echo",
    "fish": "echo (complete -C '{line}')",
}
"""What each shell does at Tab behind a line, and prints of it."""
STARTED = {"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}


@pytest.mark.parametrize("shell", STARTED)
def test_a_shell_offers_keys_groups_and_values(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    asked = [ASKED[shell].format(line=line, count=len(line), word=line.split(" ")[-1]) for line in OFFERED]
    text = "\n".join([script(shell, ["train", "doctor"]), *asked])
    home = {**os.environ, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    found = subprocess.run(
        STARTED[shell], input=text, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=home
    )
    assert found.stderr == ""
    answers = found.stdout.split("\n")[:-1]
    assert len(answers) == len(OFFERED)
    for (line, words), answer in zip(OFFERED.items(), answers, strict=True):
        word = line.split(" ")[-1]
        known = [one for one in answer.split() if shell == "bash" or one.startswith(word)]  # zsh drops others
        values = [one.partition("=")[2] if "=" in word and shell != "bash" else one for one in known]
        assert sorted(one for one in values if not one.startswith("/")) == words, line  # fish adds files where it can


def test_every_shell_with_a_script_is_tested() -> None:
    assert STARTED.keys() == SCRIPTS.keys()


def test_a_shell_without_a_script() -> None:
    with pytest.raises(ConfigError, match=r"fsh: no such script; did you mean fish\?"):
        script("fsh", [])
