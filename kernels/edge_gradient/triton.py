"""Triton. ``edge_grad``: a lane a pixel collects what that pixel's fragment gets. ``neural_renderer``: a program walks
one edge of a visible face along one axis. Sums over vertices are ``segments``', in a fixed order."""

import triton
import triton.language as tl

from ..segments import segment_sum
from .corners import face_vertices, pixel_positions, seen_faces, to_points
from .reference import ON_CENTER

_ON_CENTER = tl.constexpr(ON_CENTER)
PIXELS = 128  # of a program of edge_grad
PLACES = 64  # along a line, at once
FRAGMENT_WARPS = 4
WALK_WARPS = 1


@triton.jit
def load_corners(points_ptr, faces_ptr, row, base, mask):
    """Homogeneous corners of faces (rows of ``faces``), and whether a row is no padding."""
    a = tl.load(faces_ptr + 3 * row, mask, other=-1)
    b = tl.load(faces_ptr + 3 * row + 1, mask, other=-1)
    c = tl.load(faces_ptr + 3 * row + 2, mask, other=-1)
    mask = mask & (a >= 0)
    p = points_ptr + 3 * (base + a)
    q = points_ptr + 3 * (base + b)
    r = points_ptr + 3 * (base + c)
    x0, y0, w0 = tl.load(p, mask, other=1.0), tl.load(p + 1, mask, other=0.0), tl.load(p + 2, mask, other=1.0)
    x1, y1, w1 = tl.load(q, mask, other=0.0), tl.load(q + 1, mask, other=1.0), tl.load(q + 2, mask, other=1.0)
    x2, y2, w2 = tl.load(r, mask, other=0.0), tl.load(r + 1, mask, other=0.0), tl.load(r + 2, mask, other=1.0)
    return x0, y0, w0, x1, y1, w1, x2, y2, w2


@triton.jit
def contains(x0, y0, w0, x1, y1, w1, x2, y2, w2, x, y):
    """Whether the triangle's inside holds (x, y); homogeneous corners, nothing is divided."""
    a0, b0, c0 = y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2
    sign = tl.where(x0 * a0 + y0 * b0 + w0 * c0 > 0, 1.0, -1.0)
    e0 = a0 * x + b0 * y + c0
    e1 = (y2 * w0 - w2 * y0) * x + (w2 * x0 - x2 * w0) * y + (x2 * y0 - y2 * x0)
    e2 = (y0 * w1 - w0 * y1) * x + (w0 * x1 - x0 * w1) * y + (x0 * y1 - y0 * x1)
    return (sign * e0 > 0) & (sign * e1 > 0) & (sign * e2 > 0)


@triton.jit
def unit_normal(x0, y0, w0, x1, y1, w1, x2, y2, w2, ALONG: tl.constexpr):
    """The normal in pixels and depth, in the plane of x (``ALONG`` 0) or y and the depth, at length 1."""
    x0, y0, x1, y1, x2, y2 = x0 / w0, y0 / w0, x1 / w1, y1 / w1, x2 / w2, y2 / w2
    ax, ay, aw = x0 - x2, y0 - y2, w0 - w2
    bx, by, bw = x1 - x0, y1 - y0, w1 - w0
    first = ay * bw - aw * by if ALONG == 0 else aw * bx - ax * bw
    second = ax * by - ay * bx
    scale = 1 / tl.maximum(tl.sqrt(first * first + second * second), 1e-30)
    return first * scale, second * scale


@triton.jit
def slide_rate(m0, m1, f0, f1, max_dp_dr):
    """b_x / b . v: how far a face's intersection with a fixed one slides as the face moves along its normal."""
    sine = f0 * m1 - f1 * m0
    least = tl.where(max_dp_dr > 0, tl.abs(f1) / tl.where(max_dp_dr > 0, max_dp_dr, 1.0), 0.0)
    size = tl.maximum(tl.maximum(tl.abs(sine), least), 1e-8)
    return -f1 / tl.where(sine < 0, -size, size)


@triton.jit
def fragment_kernel(
    image_ptr, grad_ptr, points_ptr, faces_ptr, face_ptr, fragment_ptr,
    pixels, height, width, vertices, own_faces, near, max_dp_dr, C: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """``own_faces``: rows of ``faces`` from one view to the next, 0 where all views share them."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    face = tl.load(face_ptr + pixel, pixel < pixels, other=-1)
    j = (pixel % width).to(tl.int32)
    i = (pixel // width % height).to(tl.int32)
    view = pixel // (height * width)
    x0, y0, w0, x1, y1, w1, x2, y2, w2 = load_corners(
        points_ptr, faces_ptr, view * own_faces + face, view * vertices, face >= 0
    )
    ahead = (face >= 0) & (w0 >= near) & (w1 >= near) & (w2 >= near)
    w0, w1, w2 = tl.where(ahead, w0, 1.0), tl.where(ahead, w1, 1.0), tl.where(ahead, w2, 1.0)
    gx = tl.zeros((PIXELS,), tl.float64)
    gy = tl.zeros((PIXELS,), tl.float64)
    gw = tl.zeros((PIXELS,), tl.float64)
    for along in tl.static_range(2):
        for back in tl.static_range(2):
            step = 1 - 2 * back
            i2 = i + step if along == 1 else i
            j2 = j + step if along == 0 else j
            pair = ahead & (i2 >= 0) & (i2 < height) & (j2 >= 0) & (j2 < width)
            pixel2 = pixel + (step * width if along == 1 else step)
            other = tl.load(face_ptr + pixel2, pair, other=-1)
            pair = pair & (other != face)
            moved = tl.zeros((PIXELS,), tl.float64)
            for c in tl.static_range(C):
                own, beside = pixel * C + c, pixel2 * C + c
                change = tl.load(image_ptr + beside, pair, other=0.0) - tl.load(image_ptr + own, pair, other=0.0)
                both = tl.load(grad_ptr + beside, pair, other=0.0) + tl.load(grad_ptr + own, pair, other=0.0)
                moved += (change * both).to(tl.float64)
            moved *= -0.5 * step
            two = pair & (other >= 0)
            u0, v0, t0, u1, v1, t1, u2, v2, t2 = load_corners(
                points_ptr, faces_ptr, view * own_faces + other, view * vertices, two
            )
            own_in_other = contains(u0, v0, t0, u1, v1, t1, u2, v2, t2, j + 0.5, i + 0.5) & two
            other_in_own = contains(x0, y0, w0, x1, y1, w1, x2, y2, w2, j2 + 0.5, i2 + 0.5)
            both_ahead = (t0 >= near) & (t1 >= near) & (t2 >= near)
            crossing = own_in_other & other_in_own & both_ahead
            ends = (pair & (other < 0)) | (own_in_other & (other_in_own == 0))
            share = tl.where(ends, 1.0, 0.0).to(tl.float64)
            if tl.max(crossing.to(tl.int32), 0) > 0:  # rare
                m0, m1 = unit_normal(x0, y0, w0, x1, y1, w1, x2, y2, w2, along)
                t0, t1, t2 = tl.where(crossing, t0, 1.0), tl.where(crossing, t1, 1.0), tl.where(crossing, t2, 1.0)
                f0, f1 = unit_normal(u0, v0, t0, u1, v1, t1, u2, v2, t2, along)
                rate = slide_rate(m0, m1, f0, f1, max_dp_dr)
                share = tl.where(crossing, rate * m0, share)
                gw += moved * tl.where(crossing, rate * m1, 0.0)
            if along == 0:
                gx += moved * share
            else:
                gy += moved * share
    tl.store(fragment_ptr + 3 * pixel, gx, pixel < pixels)
    tl.store(fragment_ptr + 3 * pixel + 1, gy, pixel < pixels)
    tl.store(fragment_ptr + 3 * pixel + 2, gw, pixel < pixels)


def edge_grad(image, grad, points, faces, face, barycentrics, near, max_dp_dr):
    """See ``reference.edge_grad``. Works in float64 inside; returns float32."""
    image, grad = image.float().contiguous(), grad.float().contiguous()
    exact, faces, face = points.double().contiguous(), faces.long().contiguous(), face.int().contiguous()
    _, height, width, channels = image.shape
    vertices, pixels = points.shape[1], face.numel()
    fragment = image.new_empty(pixels, 3)
    if pixels:
        own_faces = faces.shape[1] if faces.ndim == 3 else 0
        sizes = (pixels, height, width, vertices, own_faces, near, max_dp_dr)
        fragment_kernel[(triton.cdiv(pixels, PIXELS),)](
            image, grad, exact, faces, face, fragment, *sizes, C=channels, PIXELS=PIXELS, num_warps=FRAGMENT_WARPS
        )
    pixel = (fragment != 0).any(-1).nonzero()[:, 0]  # (P,): few, on outlines
    view = pixel // (height * width)
    corner = face_vertices(faces, view, face.view(-1)[pixel].long())  # (P, 3)
    moved = (barycentrics.reshape(-1, 3)[pixel, :, None] * fragment[pixel, None]).double()  # (P, 3, 3), by x, y and w
    rows = to_points(moved[..., :2], exact[view[:, None], corner])
    rows[..., 2] += moved[..., 2]
    keys = (view[:, None] * vertices + corner).view(-1)
    return segment_sum(rows.view(-1, 3), keys, points.shape[0] * vertices).view(points.shape).float()


@triton.jit
def walk_kernel(
    image_ptr, grad_ptr, face_ptr, view_ptr, number_ptr, positions_ptr, moves_ptr, eps, height, width,
    C: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """Program 6 k + 2 e + a: edge e of visible face k; what moves is x on rows (a = 0) or y on columns (a = 1)."""
    program = tl.program_id(0)
    item = program // 6
    start = program % 6 // 2
    end = (start + 1) % 3
    along = program % 2
    view = tl.load(view_ptr + item)
    number = tl.load(number_ptr + item)
    corners = positions_ptr + 6 * item.to(tl.int64)
    line0, line1 = tl.load(corners + 2 * start + 1 - along), tl.load(corners + 2 * end + 1 - along)
    place0, place1 = tl.load(corners + 2 * start + along), tl.load(corners + 2 * end + along)
    third = tl.load(corners + 2 * ((start + 2) % 3) + along)
    lines = tl.where(along == 0, height, width)
    places = tl.where(along == 0, width, height)
    line_step = tl.where(along == 0, width, 1).to(tl.int64)
    place_step = tl.where(along == 0, 1, width)
    least = tl.minimum(tl.minimum(place0, place1), third)
    most = tl.maximum(tl.maximum(place0, place1), third)
    lowest = tl.ceil(tl.minimum(tl.maximum(least, 0.0), places.to(tl.float64))).to(tl.int32)
    highest = tl.floor(tl.maximum(tl.minimum(most, places - 1.0), -1.0)).to(tl.int32)
    out = tl.where((line0 < line1) == (along == 0), 1, -1)
    margin = eps * places / 2
    first = tl.ceil(tl.minimum(tl.maximum(tl.minimum(line0, line1), 0.0), lines.to(tl.float64))).to(tl.int32)
    last = tl.floor(tl.maximum(tl.minimum(tl.maximum(line0, line1), lines - 1.0), -1.0)).to(tl.int32)
    last = tl.where(line0 == line1, first - 1, last)
    run = tl.where(line0 == line1, 1.0, line1 - line0)
    move0 = tl.zeros((PLACES,), tl.float64)
    move1 = tl.zeros((PLACES,), tl.float64)
    for line in range(first, last + 1):
        share = (line - line0) / run
        place = place0 + share * (place1 - place0)
        near_enough = (place > -1) & (place < places)
        place = tl.where(near_enough, place, -1.0)
        nearest = tl.floor(place + 0.5)
        place = tl.where(tl.abs(place - nearest) < _ON_CENTER, nearest, place)
        inner = tl.where(out > 0, tl.floor(place), tl.ceil(place)).to(tl.int32)
        outer = inner + out
        shown = near_enough & (tl.minimum(inner, outer) >= 0) & (tl.maximum(inner, outer) < places)
        row = view * height * width + line * line_step
        own = tl.load(face_ptr + row + inner * place_step, shown, other=-1) == number
        far = tl.where(own, tl.where(out > 0, places - 1, 0), inner)
        back = tl.where(out > 0, tl.minimum(lowest, inner), tl.maximum(highest, inner))
        low = tl.minimum(far, back)
        high = tl.where(shown, tl.maximum(far, back), low - 1)
        for begin in range(low, high + 1, PLACES):
            d = begin + tl.arange(0, PLACES)
            pixel = row + d * place_step
            here = d <= high
            outward = (d - inner) * out > 0
            here = here & (outward | (tl.load(face_ptr + pixel, here, other=-1) == number))
            gain = tl.zeros((PLACES,), tl.float64)
            for c in tl.static_range(C):
                color_in = tl.load(image_ptr + (row + inner * place_step) * C + c)
                color_out = tl.load(image_ptr + (row + outer * place_step) * C + c)
                change = tl.load(image_ptr + pixel * C + c, here, other=0.0) - tl.where(outward, color_in, color_out)
                gain += (change * tl.load(grad_ptr + pixel * C + c, here, other=0.0)).to(tl.float64)
            gain = tl.where(here & (gain > 0), gain, 0.0) * tl.where(outward, -out, out)
            distance = tl.abs(d - place)
            weight0 = tl.where(share < 1, 1 - share, 1.0)
            weight1 = tl.where(share > 0, share, 1.0)
            move0 += tl.where(share < 1, gain / (distance / weight0 + margin), 0.0)
            move1 += tl.where(share > 0, gain / (distance / weight1 + margin), 0.0)
    tl.store(moves_ptr + 2 * program.to(tl.int64), tl.sum(move0, 0))
    tl.store(moves_ptr + 2 * program.to(tl.int64) + 1, tl.sum(move1, 0))


def neural_renderer(image, grad, points, faces, face, near, eps):
    """See ``reference.neural_renderer``. Works in float64 inside; returns float32."""
    image, grad = image.float().contiguous(), grad.float().contiguous()
    face = face.int().contiguous()
    seen = seen_faces(points.double(), faces.long(), face, near)
    count = seen.view.shape[0]
    _, height, width, channels = image.shape
    moves = seen.corners.new_empty(count, 3, 2, 2)  # edge, axis, end
    if count:
        positions = (pixel_positions(seen.corners) - 0.5).contiguous()
        walk_kernel[(6 * count,)](
            image, grad, face, seen.view, seen.number, positions, moves, eps, height, width,
            C=channels, PLACES=PLACES, num_warps=WALK_WARPS,
        )  # fmt: skip
    by_xy = moves[..., 0] + moves[..., 1].roll(1, 1)  # (K, 3, 2): an edge's end is the next one's start
    rows = to_points(by_xy, seen.corners).view(-1, 3)
    keys = (seen.view[:, None] * points.shape[1] + seen.vertices).view(-1)
    return segment_sum(rows, keys, points.shape[0] * points.shape[1]).view(points.shape).float()
