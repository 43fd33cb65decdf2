"""Pixel choice and ray set-up in Triton, forward and backward. The backward gives each view one program: no atomics."""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..philox import RAYS
from ..philox.triton import to_uniform, words
from .pixel_set import WORDS

BLOCK = 128
AS_WRITTEN = {"enable_fp_fusion": False}
STREAM = tl.constexpr(RAYS)


@triton.jit(do_not_specialize=["seed", "step", "first"])
def choose_kernel(
    views_ptr, pixels_ptr, seed, step, first, view_count, height, width, count, BLOCK: tl.constexpr
):  # fmt: skip
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < count
    w0, w1, w2, _ = words(seed, first + ray, ray ^ ray, step, STREAM)
    view = tl.load(views_ptr + ((w0.to(tl.uint64) * view_count) >> 32), inside)
    tl.store(pixels_ptr + ray, view, inside)
    pixels_ptr += count
    tl.store(pixels_ptr + ray, ((w1.to(tl.uint64) * height) >> 32).to(tl.int64), inside)
    pixels_ptr += count
    tl.store(pixels_ptr + ray, ((w2.to(tl.uint64) * width) >> 32).to(tl.int64), inside)


def choose_pixels(draw, views, height, width, count):
    """View, row and column (R,) int64 of pixels drawn uniformly with replacement."""
    pixels = torch.empty(3, count, dtype=torch.int64, device=views.device)
    if count:
        choose_kernel[(triton.cdiv(count, BLOCK),)](
            views.contiguous(), pixels, draw.seed, draw.step, draw.first, len(views), height, width, count, BLOCK=BLOCK
        )
    return tuple(pixels)


@triton.jit
def _members(word):
    """How many bits of an int64 are set."""
    word = word - ((word >> 1) & 0x5555555555555555)
    word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333)
    return (((word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F) * 0x0101010101010101) >> 56


@triton.jit
def _last_up_to(sorted_ptr, count, number, inside, HALVINGS: tl.constexpr):
    """The last of ``count`` indices whose number is at most ``number``; the first is."""
    index = number ^ number
    beyond = index + count
    for _ in range(HALVINGS):
        middle = (index + beyond) // 2
        right = tl.load(sorted_ptr + middle, inside, other=0) <= number
        index, beyond = tl.where(right, middle, index), tl.where(right, beyond, middle)
    return index


@triton.jit(do_not_specialize=["seed", "step", "first", "low", "high"])
def members_kernel(
    bits_ptr, before_ptr, photos_ptr, offsets_ptr, widths_ptr, pixels_ptr, rgba_ptr, seed, step, first, low, high,
    blocks, views, count, BLOCK_HALVINGS: tl.constexpr, VIEW_HALVINGS: tl.constexpr, WORDS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < count
    w0, w1, _, _ = words(seed, first + ray, ray ^ ray, step, STREAM)
    u = to_uniform(w0).to(tl.float64) + to_uniform(w1).to(tl.float64) * 5.9604644775390625e-08
    number = low + (u * (high - low)).to(tl.int64)
    block = _last_up_to(before_ptr, blocks, number, inside, BLOCK_HALVINGS)
    rest = number - tl.load(before_ptr + block, inside, other=0)
    word, flat, here = rest ^ rest, block * (64 * WORDS), rest < 0
    for k in tl.static_range(WORDS):  # ``here``: the word is found
        following = tl.load(bits_ptr + block * WORDS + k, inside, other=0)
        members = _members(following)
        found = (rest < members) & ~here
        word = tl.where(found, following, word)
        here = here | found
        rest, flat = tl.where(here, rest, rest - members), tl.where(here, flat, flat + 64)
    for k in tl.static_range(6):
        below = _members(word & ((1 << (32 >> k)) - 1))
        right = rest >= below
        rest, flat = tl.where(right, rest - below, rest), tl.where(right, flat + (32 >> k), flat)
        word = tl.where(right, word >> (32 >> k), word)
    view = _last_up_to(offsets_ptr, views, flat, inside, VIEW_HALVINGS)
    within = flat - tl.load(offsets_ptr + view, inside, other=0)
    width = tl.load(widths_ptr + view, inside, other=1)
    tl.store(pixels_ptr + ray, view, inside)
    tl.store(pixels_ptr + count + ray, within // width, inside)
    tl.store(pixels_ptr + 2 * count + ray, within % width, inside)
    for channel in tl.static_range(4):
        value = tl.load(photos_ptr + 4 * flat + channel, inside, other=0).to(tl.float32)
        tl.store(rgba_ptr + 4 * ray.to(tl.int64) + channel, tl.div_rn(value, 255.0), inside)


def choose_members(draw, photos, offsets, widths, bits, before, low, high, count):
    """View, row and column (R,) int64 of members ``low`` to ``high`` - 1 of a ``PixelSet``, drawn uniformly with
    replacement, and their colors (R,4)."""
    pixels = torch.empty(3, count, dtype=torch.int64, device=bits.device)
    rgba = torch.empty(count, 4, device=bits.device)
    if count:
        blocks, views = len(before) - 1, len(widths)
        members_kernel[(triton.cdiv(count, BLOCK),)](
            bits, before, photos, offsets, widths, pixels, rgba, draw.seed, draw.step, draw.first, low, high, blocks,
            views, count, BLOCK_HALVINGS=blocks.bit_length(), VIEW_HALVINGS=views.bit_length(), WORDS=WORDS,
            BLOCK=BLOCK, **AS_WRITTEN,
        )  # fmt: skip
    return *pixels, rgba


@triton.jit
def _local(intrinsics_ptr, view, row_ptr, column_ptr, ray, inside):
    """Local x and y, fx and fy."""
    fx = tl.load(intrinsics_ptr + view * 4, inside, other=1.0)
    fy = tl.load(intrinsics_ptr + view * 4 + 1, inside, other=1.0)
    cx = tl.load(intrinsics_ptr + view * 4 + 2, inside, other=0.0)
    cy = tl.load(intrinsics_ptr + view * 4 + 3, inside, other=0.0)
    column = tl.load(column_ptr + ray, inside, other=0).to(tl.float32)
    row = tl.load(row_ptr + ray, inside, other=0).to(tl.float32)
    return tl.div_rn(column + 0.5 - cx, fx), tl.div_rn(cy - row - 0.5, fy), fx, fy


@triton.jit
def _rotate(pose_ptr, x, y, inside):
    """One component of R local, and that row of R; ``pose_ptr`` points at the row."""
    a = tl.load(pose_ptr, inside, other=0.0)
    b = tl.load(pose_ptr + 1, inside, other=0.0)
    c = tl.load(pose_ptr + 2, inside, other=1.0)
    return a * x + b * y - c, a, b


@triton.jit
def forward_kernel(
    poses_ptr, intrinsics_ptr, view_ptr, row_ptr, column_ptr, origins_ptr, directions_ptr, count, BLOCK: tl.constexpr
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < count
    view = tl.load(view_ptr + ray, inside, other=0)
    x, y, _, _ = _local(intrinsics_ptr, view, row_ptr, column_ptr, ray, inside)
    pose_ptr = poses_ptr + view * 12
    mx, _, _ = _rotate(pose_ptr, x, y, inside)
    my, _, _ = _rotate(pose_ptr + 4, x, y, inside)
    mz, _, _ = _rotate(pose_ptr + 8, x, y, inside)
    length = tl.sqrt_rn(mx * mx + my * my + mz * mz)
    tl.store(directions_ptr + ray * 3, tl.div_rn(mx, length), inside)
    tl.store(directions_ptr + ray * 3 + 1, tl.div_rn(my, length), inside)
    tl.store(directions_ptr + ray * 3 + 2, tl.div_rn(mz, length), inside)
    tl.store(origins_ptr + ray * 3, tl.load(pose_ptr + 3, inside), inside)
    tl.store(origins_ptr + ray * 3 + 1, tl.load(pose_ptr + 7, inside), inside)
    tl.store(origins_ptr + ray * 3 + 2, tl.load(pose_ptr + 11, inside), inside)


@triton.jit
def backward_kernel(
    poses_ptr, intrinsics_ptr, order_ptr, bounds_ptr, row_ptr, column_ptr, grad_origins_ptr, grad_directions_ptr,
    grad_poses_ptr, grad_intrinsics_ptr, BLOCK: tl.constexpr,
):  # fmt: skip
    """View v owns the rays ``order[bounds[v]:bounds[v + 1]]``.

    With m = R local and d = m / |m|: dm = (dd - d (d . dd)) / |m|, dR = dm local^T, dlocal = R^T dm.
    """
    v = tl.program_id(0).to(tl.int64)
    stop = tl.load(bounds_ptr + v + 1)
    pose_ptr = poses_ptr + v * 12
    zero = tl.zeros((BLOCK,), tl.float32)
    r00, r01, r02, p0 = zero, zero, zero, zero
    r10, r11, r12, p1 = zero, zero, zero, zero
    r20, r21, r22, p2 = zero, zero, zero, zero
    dfx, dfy, dcx, dcy = zero, zero, zero, zero
    for begin in range(tl.load(bounds_ptr + v), stop, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        inside = i < stop
        ray = tl.load(order_ptr + i, inside, other=0)
        x, y, fx, fy = _local(intrinsics_ptr, v + (ray ^ ray), row_ptr, column_ptr, ray, inside)
        mx, a0, b0 = _rotate(pose_ptr + (ray ^ ray), x, y, inside)
        my, a1, b1 = _rotate(pose_ptr + 4 + (ray ^ ray), x, y, inside)
        mz, a2, b2 = _rotate(pose_ptr + 8 + (ray ^ ray), x, y, inside)
        scale = tl.div_rn(1.0, tl.sqrt_rn(mx * mx + my * my + mz * mz))
        dx, dy, dz = mx * scale, my * scale, mz * scale
        gx = tl.load(grad_directions_ptr + ray * 3, inside, other=0.0)
        gy = tl.load(grad_directions_ptr + ray * 3 + 1, inside, other=0.0)
        gz = tl.load(grad_directions_ptr + ray * 3 + 2, inside, other=0.0)
        along = dx * gx + dy * gy + dz * gz
        gx, gy, gz = (gx - dx * along) * scale, (gy - dy * along) * scale, (gz - dz * along) * scale
        r00, r01, r02 = r00 + gx * x, r01 + gx * y, r02 - gx
        r10, r11, r12 = r10 + gy * x, r11 + gy * y, r12 - gy
        r20, r21, r22 = r20 + gz * x, r21 + gz * y, r22 - gz
        p0 += tl.load(grad_origins_ptr + ray * 3, inside, other=0.0)
        p1 += tl.load(grad_origins_ptr + ray * 3 + 1, inside, other=0.0)
        p2 += tl.load(grad_origins_ptr + ray * 3 + 2, inside, other=0.0)
        glx = tl.div_rn(a0 * gx + a1 * gy + a2 * gz, fx)
        gly = tl.div_rn(b0 * gx + b1 * gy + b2 * gz, fy)
        dfx, dfy, dcx, dcy = dfx - glx * x, dfy - gly * y, dcx - glx, dcy + gly
    out = grad_poses_ptr + v * 12
    tl.store(out, tl.sum(r00))
    tl.store(out + 1, tl.sum(r01))
    tl.store(out + 2, tl.sum(r02))
    tl.store(out + 3, tl.sum(p0))
    tl.store(out + 4, tl.sum(r10))
    tl.store(out + 5, tl.sum(r11))
    tl.store(out + 6, tl.sum(r12))
    tl.store(out + 7, tl.sum(p1))
    tl.store(out + 8, tl.sum(r20))
    tl.store(out + 9, tl.sum(r21))
    tl.store(out + 10, tl.sum(r22))
    tl.store(out + 11, tl.sum(p2))
    out = grad_intrinsics_ptr + v * 4
    tl.store(out, tl.sum(dfx))
    tl.store(out + 1, tl.sum(dfy))
    tl.store(out + 2, tl.sum(dcx))
    tl.store(out + 3, tl.sum(dcy))


class Rays(torch.autograd.Function):
    """(camera_to_world, intrinsics, view, row, column) -> origins, directions."""

    @staticmethod
    def forward(ctx, camera_to_world, intrinsics, view, row, column):
        inputs = [t.detach().contiguous() for t in (camera_to_world, intrinsics, view, row, column)]
        ctx.save_for_backward(*inputs)
        count = len(view)
        origins, directions = torch.empty(2, count, 3, device=view.device)
        if count:
            forward_kernel[(triton.cdiv(count, BLOCK),)](*inputs, origins, directions, count, BLOCK=BLOCK)
        return origins, directions

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_origins, grad_directions):
        poses, intrinsics, view, row, column = ctx.saved_tensors
        order = torch.argsort(view, stable=True)
        bounds = torch.searchsorted(view[order], torch.arange(len(poses) + 1, device=view.device))
        grads = torch.empty_like(poses), torch.empty_like(intrinsics)
        incoming = grad_origins.contiguous(), grad_directions.contiguous()
        if len(poses):
            backward_kernel[(len(poses),)](
                poses, intrinsics, order, bounds, row, column, *incoming, *grads, BLOCK=BLOCK
            )  # fmt: skip
        return *grads, None, None, None


rays_from_pixels = Rays.apply
