"""The words that bash offers at Tab, by the script that ``python -m nerfkit completion`` prints."""

import shutil
import subprocess

import pytest

from nerfkit.completion import script
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


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_offers_keys_groups_and_values() -> None:
    asked = [f"COMP_LINE='{line}' COMP_POINT={len(line)}; _nerfkit; echo \"${{COMPREPLY[*]}}\"" for line in OFFERED]
    text = "\n".join([script("bash", ["train", "doctor"]), *asked])
    found = subprocess.run(["bash", "--norc"], input=text, capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr == ""
    answers = [sorted(line.split()) for line in found.stdout.split("\n")[:-1]]
    assert dict(zip(OFFERED, answers, strict=True)) == OFFERED


def test_a_shell_without_a_script() -> None:
    with pytest.raises(ConfigError, match=r"fish: no such script.*-sc install=fish"):
        script("fish", [])
