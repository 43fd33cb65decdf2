"""Many pictures as one: what the faces see of each, once, with its repeats."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
import torch
from glb_builder import GREEN, RED, color_at, picture

from nerfkit.mesh.files import atlas
from nerfkit.mesh.files.atlas import Paint, pack
from nerfkit.mesh.mesh import Mesh

PLANE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]])  # two squares side by side
NOISE = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def looked_up(image: np.ndarray, u: float, v: float, wrap: tuple[str, str]) -> np.ndarray:
    """Bilinear, written out as glTF says it."""
    height, width = image.shape[:2]
    x, y, total = u * width - 0.5, (1 - v) * height - 0.5, np.zeros(3)
    for i, j in product((int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(x)), int(np.floor(x)) + 1)):
        at = []
        for k, n, way in ((i, height, wrap[1]), (j, width, wrap[0])):
            around = k % (2 * n)
            mirrored = around if around < n else 2 * n - 1 - around
            at.append({"repeat": k % n, "mirror": mirrored, "clamp": min(max(k, 0), n - 1)}[way])
        total += (1 - abs(y - i)) * (1 - abs(x - j)) * image[at[0], at[1]]
    return total / 255


@pytest.mark.parametrize("wrap", list(product(("repeat", "mirror", "clamp"), repeat=2)))
@pytest.mark.parametrize("extent", [(-1.3, 1.8, 0.2, 2.6), (3.1, 3.9, -2.2, -1.9), (0.0, 1.0, -0.7, 0.4)])
def test_every_wrap_mode_beside_another_material(wrap: tuple[str, str], extent: tuple[float, ...]) -> None:
    left, right, low, high = extent
    scale, offset = np.array([right - left, high - low]), np.array([left, low])
    uvs = PLANE[FACES][..., :2].numpy().astype(float) * scale + offset
    notes: list[str] = []
    paints = [Paint(NOISE, wrap=wrap, name="noise"), Paint(picture(GREEN), name="green")]
    texture, packed = pack(paints, np.array([0, 0, 1, 1]), uvs, None, notes)
    assert notes == ["put the textures of 2 materials side by side into one"]
    mesh = Mesh(PLANE, FACES, torch.from_numpy(packed).float(), texture=torch.from_numpy(texture).float() / 255)
    inner = np.random.default_rng(1).uniform(0.001, 0.999, (40, 2))
    whole = (extent[:2], extent[2:])
    ways = tuple("clamp" if ends == (0.0, 1.0) else way for ends, way in zip(whole, wrap, strict=True))  # no repeat
    expected = [looked_up(NOISE, *(point * scale + offset), (ways[0], ways[1])) for point in inner]
    assert np.allclose(color_at(mesh, inner), expected, atol=1e-4)
    assert np.allclose(color_at(mesh, [(1.5, 0.4)]), [0, 1, 0])


def test_a_picture_that_materials_share_is_packed_once() -> None:
    """Of a picture only what is seen is packed, and one that is alone stays as it is."""
    uvs = PLANE[FACES][..., :2].numpy().astype(float) % 1.5
    uvs[2:, :, 0] = PLANE[FACES[2:]][..., 0].numpy() - 1
    image, other = picture(RED, size=64), picture(GREEN, size=64)
    shared = [Paint(image, name="a"), Paint(image, name="b")]
    texture, packed = pack(shared, np.array([0, 0, 1, 1]), uvs, None, [])
    assert texture is image and packed is uvs
    texture, _ = pack([*shared, Paint(other, name="c")], np.array([0, 1, 2, 2]), uvs, None, [])
    assert texture.size == 2 * 66 * 66 * 3
    texture, _ = pack([*shared, Paint(other, name="c")], np.array([0, 1, 2, 2]), uvs / 4, None, [])
    assert texture.size <= 2 * 18 * 18 * 3


def test_beyond_the_budget_the_picture_gets_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "MOST", 4096)
    uvs = PLANE[FACES][..., :2].numpy().astype(float) * [8, 4]
    large = [Paint(np.zeros((65, 65, 3), np.uint8), name="large"), Paint(name="plain")]
    texture, _ = pack(large, np.array([0, 0, 1, 1]), uvs / [8, 4], None, [])
    assert texture.shape == (67 + 4, 67, 3)  # a picture above the budget is taken as it is, once
    for times, note in ((1, "repeats 8 x 4 times within faces: reduced from 32 x 16"), (500, "to 1 x 1 texels")):
        notes: list[str] = []
        paints = [Paint(picture(RED, GREEN, size=16), name="tiles"), Paint(factor=(0.0, 0.0, 1.0), name="plain")]
        texture, _ = pack(paints, np.array([0, 0, 1, 1]), uvs * times, None, notes)
        assert note in notes[0] and "'tiles'" in notes[0]
        assert texture.shape[0] * texture.shape[1] < 3 * 4096


@pytest.mark.parametrize("shared", [True, False])
def test_many_materials_take_the_memory_of_their_atlas_and_one_of_them(shared: bool) -> None:
    """A hundred tinted pictures: in floating point all together would take 150 MB."""
    count, side = 100, 256
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3)).astype(np.uint8)
    looks = [
        Paint(picture if shared else picture.copy(), (1.0, 1.0, (k + 1) / count), name=str(k)) for k in range(count)
    ]
    uvs = np.tile(PLANE[FACES][:2, :, :2].numpy().astype(float), (count, 1, 1))
    tracemalloc.start()
    try:
        image, _ = pack(looks, np.arange(count).repeat(2), uvs, None, [])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert image.nbytes > count * side**2 * 3
    assert peak < 2 * image.nbytes + 8 * picture.size * 8
