"""What a training imports before its first step: nothing that it does not use and that takes seconds."""

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
