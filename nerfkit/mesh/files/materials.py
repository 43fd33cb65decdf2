"""Colors of files: materials of OBJ (MTL) as one texture, pictures, and vertex colors in [0,1]."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nerfkit.mesh.files.atlas import Paint, pack
from nerfkit.mesh.files.gltf import srgb_to_linear
from nerfkit.runs.pictures import decode_picture
from nerfkit.runs.untrusted import TEXT_BYTES, RefusedError, inside, read_file

# Options of a line map_Kd: the least and the most words that follow each, and values without effect (None: all)
OPTIONS: dict[str, tuple[int, int, tuple[str, ...] | None]] = {
    **{"-s": (1, 3, ()), "-o": (1, 3, ()), "-clamp": (1, 1, ()), "-t": (1, 3, ("0", "0 0", "0 0 0"))},
    **{"-mm": (2, 2, ("0 1",)), "-cc": (1, 1, ("off",)), "-imfchan": (1, 1, ()), "-type": (1, 1, ())},
    **{"-bm": (1, 1, None), "-boost": (1, 1, None), "-texres": (1, 1, None)},
    **{"-blendu": (1, 1, None), "-blendv": (1, 1, None)},
}
# Lines that are not used, but for these values without effect, and how the material is drawn. Tr is 1 - d; but some
# programs write it as d, so that an opaque material may have either.
UNUSED: dict[str, tuple[tuple[float, ...], str]] = {
    **{"map_d": ((), "opaque"), "map_tr": ((), "opaque"), "d": ((1.0,), "opaque"), "tr": ((0.0, 1.0), "opaque")},
    **{"map_ke": ((), "without the light it emits"), "ke": ((0.0,), "without the light it emits")},
}


def texture_of(
    folder: Path,
    libraries: list[str],
    names: list[str],
    material: np.ndarray,
    corner_uvs: np.ndarray | None,
    colored: bool,
    notes: list[str],
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The texture (A,B,3) uint8 of the materials in use, if there is one, and the UVs (F,3,2) that belong to it.

    Several textures are put side by side into one (see ``pack``); a material without texture becomes a patch of its
    color there. Without UVs all materials become such patches, those with textures too.

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
    pictures: dict[Path, np.ndarray | None] = {}  # one array for all materials that share a file
    used = [names[number] for number in np.unique(material)]
    numbers = {name: number for number, name in enumerate(names)}
    paints = [Paint(factor=_linear(plain.get(name, (1.0, 1.0, 1.0))), name=name) for name in names]
    for name in used:
        if name not in maps:
            continue
        look = maps[name]
        if corner_uvs is None:
            notes.append(f"the texture {look.file!r} is not used: the faces have no UVs")
            continue
        file = folder / look.file.replace("\\", "/")
        if file not in pictures:
            pictures[file] = read_image(folder, look.file, notes)
        image = pictures[file]
        if image is None:
            notes.append(f"the texture {look.file!r} is not there or cannot be read: its faces have none")
            continue
        paints[numbers[name]] = Paint(image, wrap=(look.wrap, look.wrap), name=name)
        if (look.scale, look.offset) != ((1.0, 1.0), (0.0, 0.0)):
            mine = (material == numbers[name])[:, None, None]
            corner_uvs = np.where(mine, corner_uvs * look.scale + look.offset, corner_uvs)
        if look.unused:
            notes.append(f"passed over {', '.join(look.unused)} of the texture {look.file!r} of material {name!r}")
    if all(paint.image is None for paint in paints):
        plain_ones = [name for name in used if name in plain and (corner_uvs is None or name not in maps)]
        if plain_ones and corner_uvs is not None and not colored:
            notes.append(f"the color of material {plain_ones[0]!r} is not used: the faces have UVs, but no texture")
        if not plain_ones or corner_uvs is not None or colored:
            return None, corner_uvs
    if corner_uvs is None:
        corner_uvs = np.zeros((len(material), 3, 2))
    return pack(paints, material, corner_uvs, None, notes)


def _linear(color: Sequence[float]) -> tuple[float, ...]:
    """An sRGB color in linear light."""
    return tuple(srgb_to_linear(np.array(color)).tolist())


class _Map(NamedTuple):
    """A line ``map_Kd``: the file, uv * scale + offset, what is beyond [0,1], and the options that are not used."""

    file: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    wrap: str = "repeat"
    unused: tuple[str, ...] = ()


def _map(folder: Path, rest: str) -> _Map:
    """What follows ``map_Kd``: a file name, which may hold blanks, with options before it, like ``-s 4 1 1``."""
    if _is_file(folder, rest):
        return _Map(rest)
    words = rest.split()
    found, unused = _Map(rest), []
    at = 0
    while at < len(words) - 1 and words[at].lower() in OPTIONS:
        option = words[at].lower()
        least, most, no_effect = OPTIONS[option]
        end = at + 1
        while end < len(words) - 1 and end - at <= most and (end - at <= least or _number(words[end]) is not None):
            end += 1
        values = words[at + 1 : end]
        numbers = [number for word in values if (number := _number(word)) is not None]
        at = end
        if not values:  # the file name comes at once
            continue
        if option in ("-s", "-o") and len(numbers) == len(values):
            pair = (numbers[0], [*numbers, float(option == "-s")][1])
            found = found._replace(scale=pair) if option == "-s" else found._replace(offset=pair)
        elif option == "-clamp" and values[0].lower() in ("on", "off"):
            found = found._replace(wrap="clamp" if values[0].lower() == "on" else "repeat")
        elif no_effect is not None and (" ".join(f"{n:g}" for n in numbers) or values[0].lower()) not in no_effect:
            unused.append(" ".join([option, *values]))
    if not _is_file(folder, " ".join(words[at:])) and _is_file(folder, words[-1]):
        unused, at = [*unused, " ".join(words[at:-1])], len(words) - 1
    return found._replace(file=" ".join(words[at:]), unused=tuple(unused))


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _materials(folder: Path, libraries: list[str], notes: list[str]) -> tuple[dict[str, _Map], dict[str, list[float]]]:
    """Textures (map_Kd) and colors (Kd), by material, of all libraries."""
    maps: dict[str, _Map] = {}
    plain: dict[str, list[float]] = {}
    for library in dict.fromkeys(name for line in libraries for name in _libraries(folder, line)):
        try:
            text = read_file(beside(folder, library), TEXT_BYTES).decode("utf-8-sig", errors="replace")
        except (OSError, ValueError) as error:
            notes.append(f"the material file {library!r} is not there: its textures are missing{refusal(error)}")
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
                maps[name] = _map(folder, rest)
            elif key in UNUSED and not all(_number(word) in UNUSED[key][0] for word in rest.split()):
                said = f"{words[0]} {rest[:40]!r} in {library!r} is not used"
                notes.append(f"the material {name!r} is drawn {UNUSED[key][1]}: {said}")
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
    return [line] if _is_file(folder, line) else line.split()


def _is_file(folder: Path, name: str) -> bool:
    try:
        return beside(folder, name).is_file()
    except (OSError, ValueError):
        return False


def beside(folder: Path, name: str) -> Path:
    """The path of a file that another one in ``folder`` names, in or below it.

    Raises:
        RefusedError: it lies elsewhere.
    """
    return inside(folder, name.replace("\\", "/"))


def refusal(error: Exception) -> str:
    """What a note adds where a file is there and not read."""
    return f" ({error})" if isinstance(error, RefusedError) else ""


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


def read_image(folder: Path, name: str, notes: list[str]) -> np.ndarray | None:
    """The picture (A,B,3) uint8, or None where it is not there or none; ``notes`` say what is not read on purpose."""
    try:
        image = decode_picture(read_file(beside(folder, name)))
    except RefusedError as error:
        notes.append(f"the texture {name!r} is not read: {error}")
        return None
    except Exception:  # the readers raise whatever a malformed picture makes them stumble over
        return None
    return image if image.size else None


def unit_texture(texture: np.ndarray | None) -> Tensor | None:
    """A texture (A,B,3) uint8 as float32 in [0,1]."""
    return None if texture is None else torch.from_numpy(np.require(texture, requirements="W")).float().div_(255)
