"""Triton: a lane a pixel and channel. The attributes' gradient is summed for each corner of each face, over pixels
sorted by face, then for each vertex over its corners: a fixed order, no atomics."""

import torch
import triton
import triton.language as tl

from ..segments import segment_sum

LANES = 512  # elements of a program's tile: pixels times channels
WIDTH = 16  # most channels a program looks at together
WARPS = 4
SIZES = ("pixels", "area", "faces", "attributes", "channels")  # compiled once for all values


@triton.jit
def _corners(face_ptr, faces_ptr, attributes_ptr, area, faces, attributes, pixel, inside, LISTED: tl.constexpr,
             OWN: tl.constexpr):  # fmt: skip
    """Whether a pixel shows a face, its face's corners, and where its view's attributes begin."""
    view = pixel // area
    face = tl.load(face_ptr + pixel, inside, other=-1)
    shown = face >= 0
    row = faces_ptr + 3 * ((view * faces if LISTED else 0) + face.to(tl.int64))
    v0 = tl.load(row, shown, other=-1)
    v1 = tl.load(row + 1, shown, other=-1)
    v2 = tl.load(row + 2, shown, other=-1)
    return v0 >= 0, v0, v1, v2, attributes_ptr + (view * attributes if OWN else view * 0)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    face_ptr, barycentrics_ptr, faces_ptr, attributes_ptr, image_ptr, pixels, area, faces, attributes, channels,
    LISTED: tl.constexpr, OWN: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    shown, v0, v1, v2, base = _corners(
        face_ptr, faces_ptr, attributes_ptr, area, faces, attributes, pixel, inside, LISTED, OWN
    )
    b0 = tl.load(barycentrics_ptr + 3 * pixel, shown, other=0.0)
    b1 = tl.load(barycentrics_ptr + 3 * pixel + 1, shown, other=0.0)
    b2 = tl.load(barycentrics_ptr + 3 * pixel + 2, shown, other=0.0)
    for first in range(0, channels, WIDTH):
        channel = first + tl.arange(0, WIDTH)
        here = (channel < channels)[None, :]
        mask = shown[:, None] & here
        at = base[:, None] + channel[None, :]
        value = b0[:, None] * tl.load(at + v0[:, None] * channels, mask, other=0.0)
        value += b1[:, None] * tl.load(at + v1[:, None] * channels, mask, other=0.0)
        value += b2[:, None] * tl.load(at + v2[:, None] * channels, mask, other=0.0)
        tl.store(image_ptr + pixel[:, None] * channels + channel[None, :], value, inside[:, None] & here)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(
    face_ptr, faces_ptr, attributes_ptr, grad_image_ptr, grad_barycentrics_ptr, pixels, area, faces, attributes,
    channels, LISTED: tl.constexpr, OWN: tl.constexpr, PIXELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    shown, v0, v1, v2, base = _corners(
        face_ptr, faces_ptr, attributes_ptr, area, faces, attributes, pixel, inside, LISTED, OWN
    )
    d0, d1, d2 = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
    for first in range(0, channels, WIDTH):
        channel = first + tl.arange(0, WIDTH)
        mask = shown[:, None] & (channel < channels)[None, :]
        at = base[:, None] + channel[None, :]
        grad = tl.load(grad_image_ptr + pixel[:, None] * channels + channel[None, :], mask, other=0.0)
        d0 += tl.sum(grad * tl.load(at + v0[:, None] * channels, mask, other=0.0), 1)
        d1 += tl.sum(grad * tl.load(at + v1[:, None] * channels, mask, other=0.0), 1)
        d2 += tl.sum(grad * tl.load(at + v2[:, None] * channels, mask, other=0.0), 1)
    tl.store(grad_barycentrics_ptr + 3 * pixel, d0, inside)
    tl.store(grad_barycentrics_ptr + 3 * pixel + 1, d1, inside)
    tl.store(grad_barycentrics_ptr + 3 * pixel + 2, d2, inside)


def _launch(face, faces, attributes):
    """The grid and the arguments that both kernels end in."""
    channels = attributes.shape[2]
    width = min(triton.next_power_of_2(max(channels, 1)), WIDTH)
    sizes = (face.numel(), face[0].numel(), faces.shape[1], attributes[0].numel(), channels)
    shape = {"LISTED": faces.shape[0] > 1, "OWN": attributes.shape[0] > 1, "PIXELS": LANES // width, "WIDTH": width}
    return (triton.cdiv(face.numel(), LANES // width),), sizes, shape | {"num_warps": WARPS}


def forward(face, barycentrics, faces, attributes):
    """The image, (N,H,W,C)."""
    image = attributes.new_empty(*face.shape, attributes.shape[2])
    if image.numel() == 0:
        return image
    grid, sizes, shape = _launch(face, faces, attributes)
    forward_kernel[grid](face, barycentrics, faces, attributes, image, *sizes, **shape)
    return image


def backward(face, barycentrics, faces, attributes, grad_image, *, to_barycentrics=True, to_attributes=True):
    """Gradients of the barycentrics and of the attributes (S,V,C), each None where not asked for."""
    for_barycentrics = for_attributes = None
    if to_barycentrics:
        for_barycentrics = torch.empty_like(barycentrics)
        if face.numel():
            grid, sizes, shape = _launch(face, faces, attributes)
            backward_kernel[grid](face, faces, attributes, grad_image, for_barycentrics, *sizes, **shape)
    if to_attributes and face.numel() and attributes.numel():
        for_attributes = _sum_of_pixels(face, barycentrics, faces, attributes, grad_image)
    elif to_attributes:
        for_attributes = torch.zeros_like(attributes)
    return for_barycentrics, for_attributes


def _sum_of_pixels(face, barycentrics, faces, attributes, grad_image):
    """Gradient of the attributes: pixels by face (of their view, if views differ), then corners by vertex."""
    views = face.shape[0]
    sets, vertices, channels = attributes.shape
    lists, count, _ = faces.shape
    apart = views if lists > 1 or sets > 1 else 1  # lists of faces to sum over, one behind the other
    view = torch.arange(apart, device=face.device)[:, None]
    key = face.view(apart, -1).long()
    key = torch.where(key >= 0, key + count * view, -1).view(-1)
    values = (barycentrics[..., None] * grad_image[..., None, :]).view(face.numel(), 3 * channels)
    corners = segment_sum(values, key, apart * count).view(3 * apart * count, channels)
    vertex = faces.reshape(lists, -1).expand(apart, -1)  # (apart, 3 F)
    vertex = torch.where(vertex >= 0, vertex + (vertices * view if sets > 1 else 0), -1).reshape(-1)
    return segment_sum(corners, vertex, sets * vertices).view(attributes.shape)
