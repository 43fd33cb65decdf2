"""The DTU scans as IDR, NeuS and VolSDF use them: ``cameras_sphere.npz`` or ``cameras.npz``, ``image/``, ``mask/``.

For photo i, in the order of their names, the file has two 4x4 matrices, of which the first maps the world to pixels,
0 at the center of the first one, and the other the unit ball, in which these methods work, to the world:

    d (u, v, 1) = P (X, 1),    P = world_mat_i[:3] = c K [R | t],    X = scale_mat_i (X_unit, 1)

P is taken apart into K and R by an RQ decomposition with a positive diagonal of K. Poses stay in the **world's units**
(millimeters for DTU), so that meshes lie on the scans; the ball, center scale_mat[:3, 3] and radius scale_mat[0, 0],
is ``Capture.sphere``. A mask is bright where the object is: it becomes the photo's alpha. A lens has no skew; what K
has of it is passed over, and noted above 1e-3 fx. Source: lioryariv/idr, DATA_CONVENTION.md.
"""

from pathlib import PurePosixPath

import numpy as np

from nerfkit.cameras.poses import from_opencv, rigid_transform
from nerfkit.errors import problem
from nerfkit.scenes.arrays import npz
from nerfkit.scenes.capture import Capture, Photo
from nerfkit.scenes.files import Source
from nerfkit.scenes.photo_files import data_folder, lens_of_matrix, photos_in, picture_size, skew_note

SIGNS = ("cameras_sphere.npz", "cameras.npz")  # where both are there, NeuS's, whose ball is tight around the object
WORLD, SCALE = "world_mat_", "scale_mat_"


def read(source: Source) -> Capture:
    """The photos of a DTU scan.

    Raises:
        SceneError: no cameras or several data sets, a damaged file, a matrix that is no camera, or other numbers of
            cameras, photos and masks.
    """
    folder = PurePosixPath(data_folder(source, SIGNS, "cameras_sphere.npz or cameras.npz"))
    name = next(str(folder / sign) for sign in SIGNS if source.exists(str(folder / sign)))
    where = source.where(name)
    content = npz(source, name, (WORLD, SCALE))
    worlds = _numbered(content, WORLD)
    names, masks = _pictures(source, folder, "image"), _pictures(source, folder, "mask")
    if not worlds or len(names) != len(worlds) or len(masks) not in (0, len(names)):
        raise problem(
            where,
            f"{len(worlds)} cameras (world_mat_0, ...), {len(names)} photos in image, {len(masks)} masks in mask",
            "a camera and, if there are masks, a mask for each photo",
            "Restore the files that are missing, or remove those that have no camera.",
        )
    photos, skews = [], []
    for index, matrix in enumerate(worlds):
        label = f"{where}, {WORLD}{index}"
        camera, world_to_camera = decompose(matrix, label)
        lens = lens_of_matrix(camera, picture_size(source, names[index]), label)
        alpha = masks[index] if masks else None
        photos.append(Photo(names[index], from_opencv(world_to_camera), lens, alpha=alpha))
        skews.append(camera[0, 1] / camera[0, 0])
    return Capture(photos, notes=skew_note(skews, where), sphere=_sphere(_numbered(content, SCALE)))


@np.errstate(all="ignore")  # numbers of extreme sizes end as NaN, which is refused
def decompose(matrix: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """K (3,3), upper triangular with a positive diagonal and K[2, 2] = 1, and [R | t] (3,4), OpenCV axes.

    P = c K [R | t]; the sign of P, which a projection does not determine, is the one that makes R a rotation.

    Args:
        matrix: P, (3,4) or (4,4) with another row below.
        where: how a message names it.

    Raises:
        SceneError: another shape, or a matrix that is no projection.
    """
    if matrix.shape not in ((3, 4), (4, 4)):
        raise problem(where, f"the shape is {matrix.shape}", "(4, 4)", "Export the cameras again.")
    projection = matrix[:3] / (np.abs(matrix[:3, :3]).max() or 1.0)
    determinant = np.linalg.det(projection[:, :3])
    if abs(determinant) < 1e-12:
        raise problem(where, "the matrix is singular", "K [R | t] of a camera", "Export the cameras again.")
    projection = projection * np.sign(determinant)
    # RQ from QR: turning the rows of M upside down and transposing swaps the factors and the triangle.
    orthogonal, upper = np.linalg.qr(projection[::-1, :3].T)
    camera, rotation = upper.T[::-1, ::-1], orthogonal.T[::-1]
    signs = np.sign(np.diag(camera))
    camera, rotation = camera * signs, signs[:, None] * rotation
    moved = np.linalg.solve(camera, projection[:, 3:])
    return camera / camera[2, 2], rigid_transform(np.concatenate([rotation, moved], axis=1), where)


def _numbered(content: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    """The matrices prefix0, prefix1, ... up to the first that is missing."""
    count = 0
    while f"{prefix}{count}" in content:
        count += 1
    return [content[f"{prefix}{index}"] for index in range(count)]


def _pictures(source: Source, folder: PurePosixPath, kind: str) -> list[str]:
    """The photos or masks, in the order of their names."""
    return photos_in(source, str(folder / kind)) or photos_in(source, str(folder / f"{kind}s"))


def _sphere(scales: list[np.ndarray]) -> tuple[tuple[float, float, float], float] | None:
    """The ball that the photos share, if their matrices are one and the same scale and shift."""
    if not scales or any(scale.shape != (4, 4) or not np.allclose(scale, scales[0]) for scale in scales):
        return None
    radius, center = float(scales[0][0, 0]), scales[0][:3, 3]
    if radius <= 0 or not np.allclose(scales[0][:3, :3], radius * np.eye(3), atol=1e-6 * radius):
        return None
    return (float(center[0]), float(center[1]), float(center[2])), radius
