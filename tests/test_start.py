"""What a training imports before its first step: nothing that it does not use and that takes seconds."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TRAINING = """
import sys, torch
from pathlib import Path
from nerfkit import pipeline
from nerfkit.options import compose
from nerfkit.results import new_fit
from nerfkit.runs.folder import Run
from nerfkit.fit.refine_phases import Colored
from nerfkit.fit.refine_targets import Targets
from tests.fit.test_field import SMALL
from tests.fit.test_refine import ball, options
from tests.fit.test_refine_math import scene

photos = scene()
config = compose("train", ["scene=clock", *SMALL, "trainer.max_steps=1"])
fit = new_fit(config, photos, Run(Path({folder!r})), torch.device("cpu"))
fit.step()
Colored(ball((0.5, 0.5, 0.5), 1), Targets(photos, options(), 0), options(), "contour").step(1.0)
slow = ("torch._dynamo", "torch._inductor", "sympy", "tensorboard", "matplotlib", "skimage", "xatlas")
print(*[name for name in slow if name in sys.modules])
"""


def test_neither_dynamo_nor_other_slow_packages_are_imported_before_the_first_step(tmp_path: Path) -> None:
    code = TRAINING.format(folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True
    )
    assert done.stdout.strip() == ""


def test_ctrl_c_waits_until_what_is_imported_is_whole(tmp_path: Path) -> None:
    """A package that is left half imported could not be imported again, and would end the program by its traceback."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('whole')\nrun = print\n"
    )
    for program, code in (("start.started('slow', 'run')()", 130), ("start.imported('slow', 'run')()", -signal.SIGINT)):
        heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's `&` ignores it
        command = [sys.executable, "-c", f"{heeded}; from nerfkit import start; {program}"]
        path = os.pathsep.join([str(tmp_path), *sys.path])
        made = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
        assert (made.returncode, made.stdout) == (code, "whole\n")
        assert made.stderr.rstrip().endswith("KeyboardInterrupt") == (code != 130)
