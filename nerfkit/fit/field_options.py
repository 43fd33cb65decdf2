"""What the field stage can be told."""

from dataclasses import dataclass
from typing import ClassVar

from nerfkit.schema import Options, option


@dataclass
class TrainerOptions(Options):
    """The field stage. It ends at whichever bound is reached first; null is no bound (one of the two must be set)."""

    group: ClassVar[str] = "trainer"

    max_steps: int | None = option(10_000, "of the optimizer", least=1)
    max_seconds: float | None = option(
        None, "of training; where they end it, the result depends on the machine and on what else it does", above=0
    )
    samples: int = option(16384, "field evaluations a step: rays are added or taken away to keep to it", least=1)
    max_rays: int = option(65536, "rays a step at the most", least=1)
    rays: int | None = option(None, "a fixed number of rays a step instead", least=1)
    capacity: int | None = option(
        None, "samples a step makes room for, then every step has the same shapes; needs trainer.rays", least=1
    )
    views_per_step: int | None = option(
        None, "photos to draw them from, as many from each; null: from all pixels that meet the hull", least=1
    )
    learning_rate: float = option(0.01, "at the start", above=0)
    final_learning_rate: float = option(0.0003, "at the end of a cosine", least=0)
    decay: str = option(
        "cosine", "over the whole budget; or step: divided by 10 at 75 % of it", choices=("cosine", "step")
    )
    warmup: int = option(100, "steps until the learning rate is reached", least=0)
    ema: float = option(0.99, "running mean of the weights that is evaluated and exported; 0: none", least=0, below=1)
    huber: float = option(0.1, "scale of the pseudo-Huber losses: squared below, linear above", above=0)
    mask_weight: float = option(0.1, "of the silhouette loss, where the scene has masks", least=0)
    depth_weight: float | None = option(
        None,
        "of the loss of depth at points that a photo saw, by COLMAP or depth files; 0: none; null: 0.01 without masks",
        least=0,
    )
    exposure: str = option(
        "auto",
        "learn exposure and white balance of each photo; auto: of photos without masks",
        choices=("auto", "on", "off"),
    )
    poses: str = option("off", "learn a correction of each photo's camera", choices=("on", "off"))
    focal: str = option(
        "fixed", "with trainer.poses=on: learn a factor on the focal lengths", choices=("fixed", "shared", "each")
    )
    random_background: bool = option(
        True, "a random color behind every ray, in prediction and truth, so that opacity is learned"
    )
    skip_bad_steps: int = option(
        0,
        "steps in all that may have a NaN or an infinite loss or gradient: they change nothing; the next ends it",
        least=0,
    )
    log_every: int = option(50, "steps", least=1)
    preview_every: float = option(0.1, "of the budget: a held-out view to TensorBoard", above=0)
    checkpoint_every: float = option(60.0, "seconds", least=0)
    keep_best: bool = option(
        False, "keep the weights that did best on that view, too, for checkpoint=best of render.py and eval"
    )

    def check(self) -> None:
        super().check()
        bounded = self.max_seconds is not None or self.max_steps is not None
        self.expect("max_steps", bounded, "a number, or one for trainer.max_seconds: without both a fit never ends")
        self.expect("focal", self.focal == "fixed" or self.poses == "on", "fixed, or trainer.poses=on")
        self.expect("capacity", self.capacity is None or self.rays is not None, "null, or with trainer.rays a number")
