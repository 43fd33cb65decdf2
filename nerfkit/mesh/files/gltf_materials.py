"""Base colors of glTF materials: baseColorTexture times baseColorFactor, by UV set, transform and wrap mode."""

from typing import Any, NamedTuple

import numpy as np

from nerfkit.mesh.files.atlas import Paint
from nerfkit.mesh.files.gltf import WEBP
from nerfkit.mesh.files.gltf_file import GlbFile
from nerfkit.mesh.files.materials import refusal
from nerfkit.runs.pictures import decode_picture, header_read

WRAPS = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
BASIS, TRANSFORM = "KHR_texture_basisu", "KHR_texture_transform"


class Coat(NamedTuple):
    """A material's paint, and which UVs its texture takes.

    Attributes:
        paint: texture and factor.
        uv_set: n of TEXCOORD_n.
        transform: (2,3) of these UVs, v downward.
        opacity: the least alpha of texture times factor, and the least that is drawn as if it were 1.
        name: the material's.
    """

    paint: Paint
    uv_set: int
    transform: np.ndarray
    opacity: tuple[float, float]
    name: str


class Materials:
    """The materials of a file, each read when it is first asked for; textures share their pictures."""

    def __init__(self, file: GlbFile, notes: list[str]) -> None:
        self.file, self.notes = file, notes
        self._coats: dict[int | None, Coat] = {}
        self._images: dict[int, tuple[np.ndarray, int] | None] = {}

    def coat(self, number: int | None) -> Coat:
        """How the parts look that name the material ``number``; white where they name none."""
        if number not in self._coats:
            material = {} if number is None else self.file.document["materials"][number]
            self._coats[number] = self._read(material, material.get("name") or str(number))
        return self._coats[number]

    def _read(self, material: dict[str, Any], name: str) -> Coat:
        base, extensions = material.get("pbrMetallicRoughness", {}), material.get("extensions", {})
        factor, info = base.get("baseColorFactor", (1, 1, 1, 1)), base.get("baseColorTexture")
        older = extensions.get("KHR_materials_pbrSpecularGlossiness")
        if older is not None:
            factor, info = older.get("diffuseFactor", (1, 1, 1, 1)), older.get("diffuseTexture")
        if any(material.get("emissiveFactor", ())):
            self.notes.append(f"passed over the light that material {name!r} gives off")
        for key in extensions.keys() & {"KHR_materials_transmission", "KHR_materials_diffuse_transmission"}:
            self.notes.append(f"passed over {key} of material {name!r}: the surface is opaque")
        paint = Paint(factor=tuple(np.clip(factor[:3], 0, 1).astype(float).tolist()), name=name)
        uv_set, transform, opacity = 0, np.eye(2, 3), float(factor[3])
        if info is not None:
            moved = info.get("extensions", {}).get(TRANSFORM, {})
            uv_set, transform = moved.get("texCoord", info.get("texCoord", 0)), _transform(moved)
            texture = self.file.document["textures"][info["index"]]
            found = self._image(texture, name)
            if found is not None:
                image, least = found
                samplers = self.file.document.get("samplers", [])
                sampler = samplers[texture["sampler"]] if "sampler" in texture else {}
                wrap = WRAPS[sampler.get("wrapS", 10497)], WRAPS[sampler.get("wrapT", 10497)]
                paint, opacity = paint._replace(image=image, wrap=wrap), opacity * least / 255
        mode = material.get("alphaMode", "OPAQUE")
        drawn = {"BLEND": 1.0, "MASK": float(material.get("alphaCutoff", 0.5))}.get(mode, 0.0)
        return Coat(paint, uv_set, transform, (opacity, drawn), name)

    def _image(self, texture: dict[str, Any], material: str) -> tuple[np.ndarray, int] | None:
        """A texture's picture (A,B,3) uint8, and its least alpha; None, with a note, where it cannot be had."""
        extensions = texture.get("extensions", {})
        source = texture.get("source", extensions.get(WEBP, {}).get("source"))
        if source is None:
            kind = f"KTX2 alone ({BASIS}), which is not read" if BASIS in extensions else "without a picture"
            self.notes.append(f"the texture of material {material!r} is {kind}: its faces have none")
            return None
        if source not in self._images:
            image = self.file.document["images"][source]
            name = image.get("uri", image.get("name", f"number {source}"))[:80]
            try:
                packed = self.file.resource(image["uri"]) if "uri" in image else self.file.bytes_of(image["bufferView"])
                self._images[source] = _decoded(packed)
            except Exception as error:  # the readers raise whatever a malformed picture makes them stumble over
                self._images[source] = None
                why = refusal(error)
                self.notes.append(f"the texture {name!r} is not there or cannot be read: its faces have none{why}")
        return self._images[source]


def _decoded(packed: bytes) -> tuple[np.ndarray, int]:
    """A picture (A,B,3) uint8, and its least alpha."""
    with header_read(packed) as image:
        clear = image.has_transparency_data
        least = int(np.asarray(image.convert("RGBA").getchannel("A")).min()) if clear else 255
    return decode_picture(packed), least


def _transform(moved: dict[str, Any]) -> np.ndarray:
    """KHR_texture_transform as a matrix (2,3): scale, then counter-clockwise rotation as v points down, then offset."""
    (u, v), angle = moved.get("scale", (1, 1)), moved.get("rotation", 0)
    cosine, sine = np.cos(angle), np.sin(angle)
    linear = np.array([[cosine, sine], [-sine, cosine]]) * [u, v]
    return np.column_stack([linear, moved.get("offset", (0, 0))])
