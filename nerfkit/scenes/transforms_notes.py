"""Which keys of ``transforms.json`` are passed over, and which of those a user should know of."""

from typing import Any

import numpy as np

from nerfkit.cameras.poses import TOLERANCE
from nerfkit.scenes.transforms_depth import reads_depth_path
from nerfkit.scenes.transforms_lens import KEYS, Keys

USED = KEYS | {
    *("file_path", "transform_matrix", "mask_path", "ply_file_path", "up"),
    *("depth_file_path", "depth_unit_scale_factor", "integer_depth_scale", "enable_depth_loading"),
    *("train_filenames", "val_filenames", "test_filenames", "applied_transform", "applied_scale"),
}

# What only steers another program's training or display, or names things: nothing of it changes photos or cameras.
HARMLESS = {
    *("aabb_scale", "scale", "offset", "orientation_override", "sharpness", "importance_sampling", "version"),
    *("enable_ray_loading", "colmap_im_id", "colmap_image_id", "rotation"),
}

# What is not used -> the keys that state it.
KINDS = {
    "depth without integer_depth_scale": ("depth_path",),
    "normals": ("normal_file_path",),
    "crop boxes": ("aabb", "render_aabb"),
    "a circle to crop to": ("fisheye_crop_radius",),
    "motion during the exposure": ("transform_matrix_start", "transform_matrix_end", "rolling_shutter"),
    "changes of the pixels": ("white_transparent", "black_transparent", "fix_premult", "sharpen"),
    "an environment map": ("envmap",),
    "the choice of frames": ("n_frames", "sharpness_discard_threshold"),
    "light and exposure of each photo": ("driver_parameters", "n_extra_learnable_dims"),
}


def key_notes(top: Keys, frames: list[Keys], where: str) -> list[str]:
    """A line for each kind of keys that could matter and are not used, one for unknown keys, and on odd values."""
    present: dict[str, None] = {}
    for content in (top, *frames):
        present |= {key: None for key, value in content.items() if not _is_idle(value)}
    if top.get("n_frames") == len(frames):
        present.pop("n_frames", None)
    if reads_depth_path(top) or not top.get("enable_depth_loading", True):
        present.pop("depth_path", None)
    notes = []
    for kind, keys in KINDS.items():
        stated = [key for key in keys if key in present]
        if stated:
            notes.append(f"{where}: not used: {kind} ({', '.join(stated)})")
    known = USED | HARMLESS | {key for keys in KINDS.values() for key in keys}
    unknown = sorted(present.keys() - known)
    if unknown:
        names = ", ".join(key[:40] if key.isidentifier() and key.isascii() else ascii(key[:40]) for key in unknown[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        notes.append(f"{where}: not used: keys of unknown meaning ({names}{more})")
    if "applied_transform" in top and not _is_similarity(top["applied_transform"]):
        notes.append(f"{where}: applied_transform is no rotation, scale and shift; poses are taken as they are")
    scale = top.get("applied_scale", 1)
    if scale != 1 and "ply_file_path" in top:
        notes.append(f"{where}: the points of ply_file_path are taken as scaled by applied_scale, like the poses")
    return notes


def _is_idle(value: Any) -> bool:
    """Whether a value says that nothing is to be done: false, 0, nothing, or a list of zeros."""
    return not value or (isinstance(value, list) and not any(value))


def _is_similarity(matrix: Any) -> bool:
    """Whether it is 3x4 or 4x4 and keeps shapes; it may mirror them."""
    try:
        linear = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    if linear.shape not in ((3, 4), (4, 4)) or not np.isfinite(linear).all():
        return False
    linear = linear[:3, :3]
    largest = np.abs(linear).max()
    if not largest > 0:
        return False
    linear = linear / largest
    square = linear @ linear.T
    return bool(np.abs(square - np.eye(3) * np.trace(square) / 3).max() <= TOLERANCE * np.trace(square))
