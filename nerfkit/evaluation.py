"""How good a run's field and mesh are against the photos, at any size, and against what is true: ``eval.json``."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import pstdev
from typing import Any

import torch
from torch import Tensor

from nerfkit.config import FINISHING, TrainOptions
from nerfkit.errors import CheckpointError, ConfigError
from nerfkit.fit.build import load_scene
from nerfkit.fit.dtu_scan import REMEDY, open_scan, scan_distance
from nerfkit.fit.evaluate import Further, evaluate_field
from nerfkit.fit.perceptual import Distance, lpips
from nerfkit.fit.refine_measure import evaluate_mesh
from nerfkit.fit.specular import Specular
from nerfkit.fit.surface_error import Surface, errors
from nerfkit.fit.true_surface import true_surfaces
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh_stage import surface_facts
from nerfkit.pipeline import pick_device
from nerfkit.results import finished_file, load_finished, load_fit
from nerfkit.resume import load
from nerfkit.runs.checkpoints import KINDS
from nerfkit.runs.fingerprint import FIELD, SECTION
from nerfkit.runs.folder import Run, has_checkpoint
from nerfkit.scenes.assemble import COLORS
from nerfkit.scenes.record import recorded
from nerfkit.scenes.scene import Scene
from nerfkit.view.show import REFINED

SOURCES, SPLITS, BACKGROUNDS = ("field", "mesh"), ("test", "train", "all"), (*COLORS, "scene")
NATIVE = "native"
DTU, NO_MESH = "dtu", "it has no mesh; add refine or export to stages"
LARGEST = 1 << 20  # pixels of a side: photos are never made larger, so that is as they are stored


@dataclass(frozen=True)
class Protocol:
    """What is measured.

    Attributes:
        split: of ``SPLITS``.
        size: of pictures, ``native`` or ``WIDTHxHEIGHT`` in pixels; None: as the run was trained.
        background: of ``BACKGROUNDS``; scene is the run's own.
        every: views 0, every, 2 every, ... of the split.
        name: how it is called, where it is that of a published benchmark.
        truth: where the files of DTU's scan are, as ``open_scan`` takes it; of the protocol dtu alone.
        checkpoint: of the field, ``last`` or ``best``.

    Raises:
        ConfigError: on creation, for another size or step, or dtu without its files.
    """

    split: str = "test"
    size: str | None = None
    background: str = "scene"
    every: int = 1
    name: str | None = None
    truth: str | None = None
    checkpoint: str = "last"

    def __post_init__(self) -> None:
        if (self.name == DTU) != (self.truth is not None):
            raise ConfigError(
                f"--truth: expected with --protocol {DTU} alone, which needs it: the folder with DTU's Points and "
                f"ObsMask, or in it the file of one scan, Points/stl/stl024_total.ply. {REMEDY}"
            )
        if self.size not in (None, NATIVE) and not re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", str(self.size)):
            raise ConfigError(f"--size {self.size}: expected {NATIVE} or WIDTHxHEIGHT in pixels, such as 800x800")
        if self.checkpoint not in KINDS:
            raise ConfigError(f"--checkpoint {self.checkpoint}: expected {' or '.join(KINDS)}")
        if self.every < 1:
            raise ConfigError(f"--every {self.every}: expected a whole number, at least 1")

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Height and width, where ``size`` states them."""
        if self.size in (None, NATIVE):
            return None
        width, height = map(int, str(self.size).split("x"))
        return height, width


SYNTHETIC = Protocol("test", "800x800", "white", name="nerf-synthetic")
VIEWS = 200  # of each of the published test sets


def evaluated(
    record: Run,
    protocol: Protocol,
    sources: Sequence[str] = SOURCES,
    pictures: Path | None = None,
    weights: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """What ``eval.json`` says of a run.

    ``field`` and ``mesh`` hold what metrics.json does, ``lpips``, the errors of depth and normals, and ``spread``, the
    standard deviation of each number over the views; ``not_measured`` says what is missing, and why.

    Args:
        sources: of ``SOURCES``; where both are asked for, one that the run has not is left out.
        pictures: where pictures of the views go; None writes none.
        weights: files of LPIPS', as ``perceptual.lpips`` takes them.

    Raises:
        CheckpointError, ConfigError, SceneError: it cannot be measured.
    """
    config = load(record.folder)
    if protocol.checkpoint != "last" and "field" not in sources:
        raise ConfigError(f"--checkpoint {protocol.checkpoint} is of the field; expected --source field or both")
    if protocol.checkpoint != "last" and config.trainer.poses == "on":
        raise ConfigError(
            f"--checkpoint {protocol.checkpoint}: {record.folder} has learned its cameras (trainer.poses=on), and "
            "keeps those of its last step alone; expected last"
        )
    if config.recipe is not None:
        raise CheckpointError(f"{record.folder}: a recipe's run has no field and no views; expected another run")
    device = pick_device(config.device)
    own = recorded(record.folder) or load_scene(config)
    scene = _photographed(config, own, protocol)
    views = {"test": scene.test, "train": scene.train, "all": sorted(scene.train + scene.test)}[protocol.split]
    views = views[:: protocol.every]
    _check_sizes(scene, views, protocol)
    scan = None if protocol.truth is None else open_scan(protocol.truth, scene)
    missing: dict[str, str] = {}
    further = _further(scene, views, missing, *lpips(weights, device))
    over = "the scene's background" if protocol.background == "scene" else protocol.background
    best = "" if protocol.checkpoint == "last" else f", checkpoint {protocol.checkpoint} of the field"
    found: dict[str, Any] = {
        "about": f"{len(views)} views ({protocol.split}), {', '.join(_sizes(scene, views))} pixels, over {over}{best}",
        "protocol": asdict(protocol),
    }
    if protocol.name == SYNTHETIC.name and len(views) != VIEWS:
        missing["views"] = f"{VIEWS - len(views)} of the {VIEWS} of the published test sets"
    for name in sources:
        reason = _absent(name, record, scene)
        if reason and len(sources) == 1 and scan is None:
            raise CheckpointError(f"{record.folder}: {reason}")
        if reason:
            missing[name] = reason
        elif name == "field":
            kind = KINDS[protocol.checkpoint]
            model = load_fit(config, own, record, device, rendering=True, kind=kind).average
            found[name] = evaluate_field(model, replace(scene, test=views), pictures, further=further)
        else:
            found[name] = _of_mesh(record, scene, views, device, pictures, further=further)
        if name in found:
            found[name]["spread"] = spread(found[name]["views"])
    if scan is not None:
        mesh = _finished(record, scene)[0].transformed(scene.normalization.invert)
        found["mesh"] = {"spread": {}} | found.get("mesh", {}) | scan_distance(mesh, scan)
    return found | {
        "not_measured": missing,
        SECTION: _fingerprints(record, [name for name in SOURCES if name in found]),
    }


def _fingerprints(record: Run, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """metrics.json's fingerprints of the stages that have made what is measured, by stage."""
    path, known = finished_file(record), record.metrics().get(SECTION, {})
    of_mesh = "export"
    if path is not None and path.name == REFINED:
        of_mesh = next((name for name in FINISHING if name in known), FINISHING[0])
    stages = [FIELD if name == "field" else of_mesh for name in names]
    return {stage: known.get(stage, {}) for stage in stages}


def spread(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The standard deviation of every number over the views; the divisor is their number."""
    every: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if key != "view" and not math.isnan(value):
                every.setdefault(key, []).append(value)
    return {key: float(f"{pstdev(values):.4g}") for key, values in every.items()}


def _photographed(config: TrainOptions, own: Scene, protocol: Protocol) -> Scene:
    """The photos at the size that is asked for, with the run's cameras, split and normalized units."""
    if protocol.pixels is not None:
        config.scene.resolution = max(protocol.pixels)
    elif protocol.size == NATIVE:  # the clock is rendered at any size
        config.scene.resolution = None if config.scene.name == "clock" else LARGEST
    scene = load_scene(config)
    if len(scene.cameras) != len(own.cameras):
        raise CheckpointError(
            f"{config.scene.root}: {len(scene.cameras)} photos, the run was trained with {len(own.cameras)}; expected "
            "the same ones"
        )
    heights, widths = zip(*scene.images.sizes, strict=True)
    return replace(
        scene,
        cameras=own.cameras.resized(heights, widths),
        normalization=own.normalization,
        train=own.train,
        test=own.test,
        background=COLORS.get(protocol.background, own.background),
    )


def _sizes(scene: Scene, views: Sequence[int]) -> list[str]:
    """The sizes of views, WIDTHxHEIGHT, each once."""
    return list(dict.fromkeys("{1}x{0}".format(*scene.images.sizes[view]) for view in views))


def _check_sizes(scene: Scene, views: Sequence[int], protocol: Protocol) -> None:
    """Raises ConfigError where photos have not the size that is asked for."""
    wrong = [size for size in _sizes(scene, views) if protocol.pixels is not None and size != protocol.size]
    if wrong:
        raise ConfigError(
            f"--size {protocol.size}: the photos are {wrong[0]} then, for they are made no larger and keep their "
            "aspect; expected a size that they can be reduced to"
        )


def _further(
    scene: Scene, views: Sequence[int], missing: dict[str, str], distance: Distance | None, why_not: str
) -> Further:
    """What is measured beside PSNR and SSIM; what cannot be, and why, is put into ``missing``.

    Args:
        distance: LPIPS, or None, and ``why_not``.
    """
    true, unknown = true_surfaces(scene, views)
    reasons = {"lpips": why_not, "depth and normals" if true is None else "normals": unknown}
    reasons["surface"] = "" if scene.truth is not None else "no true mesh is known"
    missing.update({key: reason for key, reason in reasons.items() if reason})

    def further(view: int, predicted: Tensor, surface: Surface) -> dict[str, float]:
        row = {}
        if distance is not None:
            row["lpips"] = distance(predicted, scene.image(view))
        if true is not None:
            inside = scene.images.known(view) & (scene.mask(view) == 1)
            row |= errors(surface, true(view), inside, scene.normalization.scale)
        return row

    return further


def _absent(name: str, record: Run, scene: Scene) -> str:
    """Why a field or a mesh cannot be measured; empty where it can."""
    if name == "field":
        return "" if has_checkpoint(record.folder) else "it has no checkpoint of a field"
    if scene.unbounded:
        return "nothing masks the photos, so a mesh alone is no picture of them; metrics.json has it among masks"
    return "" if finished_file(record) is not None else NO_MESH


def _of_mesh(
    record: Run, scene: Scene, views: list[int], device: torch.device, pictures: Path | None, further: Further
) -> dict[str, Any]:
    """The finished mesh, with its highlights where it has some."""
    mesh, specular = _finished(record, scene)
    shiny = None if specular is None else specular.to(device)
    return evaluate_mesh(mesh.to(device), scene, views, pictures, shiny, further=further) | surface_facts(mesh, scene)


def _finished(record: Run, scene: Scene) -> tuple[Mesh, Specular | None]:
    """The finished mesh in normalized units, and its highlights where it has some.

    Raises:
        CheckpointError: there is none.
    """
    path = finished_file(record)
    if path is None:
        raise CheckpointError(f"{record.folder}: {NO_MESH}")
    return load_finished(path, record, scene)
