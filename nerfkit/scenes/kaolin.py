"""NVIDIA Kaolin's synthetic data: ``N_rgb.png``, ``N_semantic.npy`` and ``N_metadata.json`` for each view N.

Camera (``camera_properties`` of the metadata): ``tf_mat`` is world-to-camera for row vectors, [p_world, 1] tf_mat =
[p_camera, 1], with the translation in its last row; camera axes are OpenGL's; f = focal_length / horizontal_aperture *
width in pixels, pixels are square and the principal point is the image's center. The world's y axis points up.

Mask: a label above 0 is the object. Where ``N_coverage.png`` exists (8-bit gray, the fraction of each pixel that the
object covers), it is used instead. Pictures are rendered over black: a pixel that the object half covers has half its
color. A ``truth.ply`` beside the views is the true mesh, in their units and axes.
"""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from nerfkit.cameras.poses import inverse, rigid_transform
from nerfkit.errors import SceneError, problem
from nerfkit.runs.archives import array_of
from nerfkit.scenes.assemble import Background, assemble, background_color, hold_out
from nerfkit.scenes.files import Source, require, require_number
from nerfkit.scenes.frame import Frame
from nerfkit.scenes.images import Picture, decode, load_views, straight
from nerfkit.scenes.photo_store import BUDGET
from nerfkit.scenes.scene import Scene

METADATA = "_metadata.json"


def load(
    root: str | Path,
    *,
    resolution: int | None = None,
    background: Background = None,
    holdout: int = 10,
    name: str | None = None,
    truth: str | None = None,
    frame: Frame | None = None,
    memory_gb: float = BUDGET,
) -> Scene:
    """Read a Kaolin data set from a folder, or from a zip without unpacking it.

    Args:
        root: folder or zip; the views lie in it or one folder down.
        resolution: longer image side in pixels; None keeps the stored size.
        background: name or color; None is black.
        holdout: views 0, holdout, 2 holdout, ... in numerical order are the test views.
        name: the scene's name; None takes the name of ``root``.
        truth: path of the true mesh, where it is known; None takes ``truth.ply`` beside the views, if it is there.
        frame: what the user says of region and axes.
        memory_gb: as ``PhotoStore``.

    Raises:
        SceneError, ConfigError: see ``open_scene``.
    """
    color = background_color(background, "black")
    with Source(root) as source:
        stems = _view_stems(source)
        where = str(source.path)
        truth = truth or source.truth(PurePosixPath(stems[0]).parent)
        split = hold_out(len(stems), holdout, where)
        has_masks = _check_files(source, stems)
        cameras = [_camera(source, stem) for stem in stems]
        images, stored = load_views(
            len(stems), lambda view: _picture(source, stems[view], has_masks), resolution, source.path.name, memory_gb
        )
        for stem, (_, _, aspect), (height, width) in zip(stems, cameras, stored, strict=True):
            if aspect is not None and abs(aspect * height / width - 1) > 0.01:
                raise problem(
                    source.where(stem + METADATA),
                    f"the resolution's aspect is {aspect:.3f}, the image is {width}x{height}",
                    "the same aspect",
                    "Crop neither; export images and metadata together.",
                )
    size = np.array([(width, height) for height, width in stored])  # (N, 2)
    focal = np.array([f for _, f, _ in cameras]) * size[:, 0]  # (N,)
    return assemble(
        name=name or source.name,
        where=where,
        images=images,
        stored_sizes=stored,
        camera_to_world=np.stack([pose for pose, _, _ in cameras]),
        intrinsics=np.concatenate([focal[:, None], focal[:, None], size / 2], axis=1),
        split=split,
        background=color,
        has_masks=has_masks,
        up=(0.0, 1.0, 0.0),
        provenance={"path": where, "format": "kaolin", "views": [f"{stem}_rgb.png" for stem in stems]},
        truth=truth,
        frame=frame,
    )


def _view_stems(source: Source) -> list[str]:
    """Path prefixes of the views, such as "rendered_clock/12", in numerical order."""
    stems = [found.removesuffix(METADATA) for found in source.find(f"*{METADATA}")]
    expected = "files N_metadata.json, N_rgb.png and N_semantic.npy in one folder"
    if not stems:
        raise problem(
            str(source.path), "no N_metadata.json inside", expected, "Point scene.root at that folder or zip."
        )
    folders = sorted({str(PurePosixPath(stem).parent) for stem in stems})
    if len(folders) > 1:
        raise problem(
            str(source.path),
            f"views in {len(folders)} folders: {', '.join(folders[:4])}",
            expected,
            "Point scene.root at one of them.",
        )
    return sorted(stems, key=_numbers)


def _numbers(stem: str) -> list[int]:
    """The numbers in a name, as view 2 precedes view 10; those of hundreds of digits count as none."""
    return [int(part) if part.isdigit() and len(part) < 300 else -1 for part in re.split(r"(\d+)", stem)]


def _check_files(source: Source, stems: list[str]) -> bool:
    """Whether the views have masks; raises SceneError if images are missing, or masks of some views only."""
    pictures = [f"{stem}_rgb.png" for stem in stems]
    masks = [f"{s}_coverage.png" if source.exists(f"{s}_coverage.png") else f"{s}_semantic.npy" for s in stems]
    for kind, names in (("image", pictures), ("mask", masks)):
        missing = [name for name in names if not source.exists(name)]
        if missing and (kind == "image" or len(missing) < len(names)):
            raise problem(
                str(source.path),
                f"{len(missing)} of {len(names)} {kind} files are missing, the first is {missing[0]}",
                "an image and a mask for each N_metadata.json",
                "Restore them, or remove the metadata of those views.",
            )
    return not missing


def _camera(source: Source, stem: str) -> tuple[np.ndarray, float, float | None]:
    """Camera-to-world (3,4), focal length as a fraction of the image's width, and the stated width / height if any."""
    name = stem + METADATA
    where = source.where(name)
    content = source.read_json(name)
    focal = require_number(content, "camera_properties.focal_length", where)
    aperture = require_number(content, "camera_properties.horizontal_aperture", where)
    matrix = require(content, "camera_properties.tf_mat", where)
    try:
        column_form = np.array(matrix, np.float64).T  # tf_mat acts on row vectors
    except (TypeError, ValueError, OverflowError):
        column_form = matrix
    world_to_camera = rigid_transform(column_form, f"{where}, camera_properties.tf_mat")
    aspect = None
    if "resolution" in content["camera_properties"]:
        width = require_number(content, "camera_properties.resolution.width", where)
        aspect = width / require_number(content, "camera_properties.resolution.height", where)
    return inverse(world_to_camera), focal / aperture, aspect


def _picture(source: Source, stem: str, has_masks: bool) -> Picture:
    """One view. Color outside the mask is dropped; the picture's own alpha, 255 as a rule, premultiplies the rest."""
    rgba = decode(source.read(f"{stem}_rgb.png"), source.where(f"{stem}_rgb.png"))
    if not has_masks:
        return straight(rgba)
    coverage = _coverage(source, stem, rgba.shape[:2])
    weight = np.where(coverage > 0, rgba[..., 3], np.uint8(0))
    rgba[..., 3] = coverage
    return Picture(rgba, weight)


def _coverage(source: Source, stem: str, size: tuple[int, ...]) -> np.ndarray:
    """The mask of one view, (H,W) uint8, 255 where the object covers the whole pixel."""
    name = f"{stem}_coverage.png"
    if source.exists(name):
        mask = decode(source.read(name), source.where(name), "L")
    else:
        name = f"{stem}_semantic.npy"
        try:
            labels = array_of(source.read(name))
        except SceneError:
            raise
        except Exception as error:  # a damaged header raises a dozen unrelated types
            raise problem(
                source.where(name),
                f"not a readable array ({error})",
                "a .npy file of integer labels",
                "Copy or export it again.",
            ) from error
        if labels.dtype.kind not in "biuf":
            raise problem(
                source.where(name),
                f"the mask holds {labels.dtype}",
                "integer labels, 0 for background",
                "Export the labels again.",
            )
        if labels.ndim == 3 and labels.shape[2] == 1:
            labels = labels[..., 0]
        mask = (labels > 0).view(np.uint8) * np.uint8(255)
    if mask.shape != size:
        raise problem(
            source.where(name),
            f"the mask has shape {mask.shape}",
            f"{size}, the size of {stem}_rgb.png",
            "Export image and mask at one size.",
        )
    return mask
