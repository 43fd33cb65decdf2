"""Colors of files: materials of OBJ (MTL) as one texture, pictures, and vertex colors in [0,1]."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np


def texture_of(
    folder: Path,
    libraries: list[str],
    names: list[str],
    material: np.ndarray,
    corner_uvs: np.ndarray | None,
    colored: bool,
    notes: list[str],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The texture (A,B,3) of the materials in use, if there is one, and the UVs (F,3,2) that belong to it.

    Several textures are put side by side into one; a material without texture becomes a patch of its color there.
    Without UVs all materials become such patches, those with textures too.

    Args:
        folder: of the OBJ file.
        libraries: what follows ``mtllib`` on its lines.
        names: of all materials.
        material: (F,) each face's, an index of ``names``.
        corner_uvs: (F,3,2), if there are some.
        colored: whether the vertices have colors, which those of materials do not replace.
        notes: what was repaired is added.
    """
    maps, plain = _materials(folder, libraries, notes)
    images: dict[str, np.ndarray] = {}
    used = [names[number] for number in np.unique(material)]
    for name in used:
        if name in maps and corner_uvs is None:
            notes.append(f"the texture {maps[name]!r} is not used: the faces have no UVs")
        elif name in maps:
            image = read_image(folder, maps[name])
            if image is None:
                notes.append(f"the texture {maps[name]!r} is not there or cannot be read: its faces have none")
            else:
                images[name] = image
    if not images:
        plain_ones = [name for name in used if name in plain and (corner_uvs is None or name not in maps)]
        if plain_ones and corner_uvs is not None and not colored:
            notes.append(f"the color of material {plain_ones[0]!r} is not used: the faces have UVs, but no texture")
        if not plain_ones or corner_uvs is not None or colored:
            return None, corner_uvs
    what = "textures" if images else "colors"
    if corner_uvs is None:
        corner_uvs = np.zeros((len(material), 3, 2))
    if len(used) == 1 and images:
        return images[used[0]], corner_uvs
    for name in used:
        if name not in images:
            images[name] = np.full((4, 4, 3), plain.get(name, (1.0, 1.0, 1.0)), np.float32)
    atlas = np.zeros((max(len(image) for image in images.values()), sum(i.shape[1] for i in images.values()), 3))
    packed, left = corner_uvs.copy(), 0
    for name, image in images.items():
        height, width = image.shape[:2]
        atlas[:height, left : left + width] = image
        mine = material == names.index(name)
        uv = packed[mine] - np.floor(packed[mine].mean(1, keepdims=True))  # textures repeat; an atlas does not
        uv = np.clip(uv, [0.5 / width, 0.5 / height], [1 - 0.5 / width, 1 - 0.5 / height])
        packed[mine] = np.stack(
            [(left + uv[..., 0] * width) / atlas.shape[1], 1 - (1 - uv[..., 1]) * height / atlas.shape[0]], -1
        )
        left += width
    if len(images) > 1:
        notes.append(f"put the {what} of {len(images)} materials side by side into one")
    return atlas.astype(np.float32), packed


def _materials(folder: Path, libraries: list[str], notes: list[str]) -> tuple[dict[str, str], dict[str, list[float]]]:
    """File names of textures (map_Kd) and colors (Kd), by material, of all libraries."""
    maps: dict[str, str] = {}
    plain: dict[str, list[float]] = {}
    for library in dict.fromkeys(name for line in libraries for name in _libraries(folder, line)):
        try:
            text = _beside(folder, library).read_text(encoding="utf-8-sig", errors="replace")
        except (OSError, ValueError):
            notes.append(f"the material file {library!r} is not there: its textures are missing")
            continue
        name = ""
        for line in text.splitlines():
            words = line.split(None, 1)
            if len(words) < 2:
                continue
            key, rest = words[0].lower(), words[1].strip()
            if key == "newmtl":
                name = rest
            elif key == "map_kd":
                maps[name] = rest
            elif key == "kd":
                try:
                    color = [float(word) for word in rest.split()[:3]]
                except ValueError:
                    color = []
                if len(color) == 3 and np.isfinite(color).all():
                    plain[name] = [min(max(value, 0.0), 1.0) for value in color]
                else:
                    notes.append(f"passed over the color {rest[:40]!r} of material {name!r} in {library!r}")
    return maps, plain


def _libraries(folder: Path, line: str) -> list[str]:
    """The names on a line ``mtllib``: one, which may hold blanks, or several."""
    try:
        whole = _beside(folder, line).is_file()
    except (OSError, ValueError):
        whole = False
    return [line] if whole else line.split()


def _beside(folder: Path, name: str) -> Path:
    return folder / name.replace("\\", "/")


def unit_colors(colors: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """Vertex colors (n,3) in [0,1] from those of a file, or None where they are no colors.

    They are bytes where some exceed 1 by more than rounding, 1e-3. What was repaired is added to ``notes``.
    """
    if not np.isfinite(colors).all() or colors.min() < 0 or colors.max() > 255:
        notes.append("dropped the vertex colors: some are outside [0, 1]")
        return None
    if colors.max() > 1 + 1e-3:
        notes.append("read the vertex colors as bytes: some exceed 1")
        colors = colors / 255
    return np.minimum(colors, 1)


def read_image(folder: Path, name: str) -> np.ndarray | None:
    """The picture (A,B,3) float32 in [0,1], or None. Before its name there may be options, like ``-s 1 1 1``."""
    for candidate in (name, name.split()[-1]):
        file = _beside(folder, candidate)
        try:
            if file.is_file():
                image = np.asarray(imageio.imread(file, mode="RGB"))
                return image.astype(np.float32) / 255 if image.ndim == 3 and image.size else None
        except Exception:  # the readers raise whatever a malformed picture makes them stumble over
            return None
    return None
