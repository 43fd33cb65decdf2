"""What operations check of their tensors, in one wording: the argument, what was expected, what came.

Numbers of rays, samples, faces and vertices that reach compiled code are looked at. On a GPU that waits for it, once a
tensor and whenever PyTorch has seen it written to; what the kernels themselves have made is trusted without.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32)

# rows -> (version, required, lowest number, highest, whether a row lacks a vertex): reading these from a device waits
# for it.
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()
# numbers on a GPU -> (version, what they are below): looked at once, or made by a kernel of ours
_trusted: WeakIdKeyDictionary = WeakIdKeyDictionary()


def expect(
    name: str,
    tensor: Tensor,
    *shapes: tuple[int | str, ...],
    dtype: torch.dtype | Sequence[torch.dtype] = (),
    like: Tensor | None = None,
) -> None:
    """Raise ``ValueError`` unless ``tensor`` has one of the shapes, the dtype and the device that are expected.

    Args:
        name: the argument's, for the message.
        shapes: sizes; a letter stands for any.
        dtype: one, or several; not given: that of ``like``, or any.
        like: another tensor of the call, on the same device.
    """
    dtypes = (dtype,) if isinstance(dtype, torch.dtype) else dtype or (() if like is None else (like.dtype,))
    sizes = tensor.shape
    fits = sizes in shapes or any(_fits(sizes, shape) for shape in shapes)
    if fits and (not dtypes or tensor.dtype in dtypes) and (like is None or tensor.device == like.device):
        return
    kinds = "floats" if dtypes == FLOATS else "integers" if dtypes == INTEGERS else " or ".join(map(str, dtypes))
    text = " or ".join(_text(shape) for shape in shapes)
    wanted = (f"{kinds} of shape {text}" if kinds else text) + ("" if like is None else f" on {like.device}")
    raise ValueError(f"{name}: expected {wanted}, got {tensor.dtype} {_text(sizes)} on {tensor.device}")


def _fits(sizes: Sequence[int], shape: Sequence[int | str]) -> bool:
    return len(sizes) == len(shape) and all(a == b or isinstance(b, str) for a, b in zip(sizes, shape, strict=True))


def _text(shape: Sequence[int | str]) -> str:
    return f"({','.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def refuse_again(operation: str, inputs: bool) -> None:
    """Raise ``RuntimeError`` in a backward that is to be differentiated again, where ``inputs`` have gradients.

    Autograd would notice only a second derivative through what comes in, and leave out those through the inputs.
    """
    if inputs and torch.is_grad_enabled():
        raise RuntimeError(
            f"gradients of the {operation} are not differentiable again "
            "(create_graph=True); nerfkit.kernels.use('reference') has second derivatives"
        )


def trust(numbers: Tensor, *below: int) -> None:
    """Notes that ``numbers`` are what an operation expects, below these bounds, so that no look at them need wait."""
    if numbers.is_cuda:
        _trusted[numbers] = (_version(numbers), *below)


def trusted(numbers: Tensor, *below: int) -> bool:
    """Whether that was noted, and PyTorch has not seen them written to since. Those of a CPU are always looked at."""
    return numbers.is_cuda and _trusted.get(numbers) == (_version(numbers), *below)


def _version(numbers: Tensor) -> int:
    """How often PyTorch has seen them written to; tensors of ``inference_mode`` do not count that."""
    return -1 if numbers.is_inference() else numbers._version


def expect_offsets(offsets: Tensor, rays: int, samples: int, like: Tensor) -> None:
    """Raise ``ValueError`` unless ``offsets`` is (R+1,) int64 and goes up from 0 to S."""
    expect("offsets", offsets, (rays + 1,), dtype=torch.int64, like=like)
    if trusted(offsets, samples):
        return
    if (ends := (offsets[0].item(), offsets[-1].item())) != (0, samples):
        raise ValueError(f"offsets: expected to run from 0 to {samples}, got {ends[0]} to {ends[1]}")
    if (offsets[1:] < offsets[:-1]).any():
        ray = int((offsets[1:] < offsets[:-1]).nonzero()[0])
        raise ValueError(
            f"offsets: expected never to fall, got {offsets[ray].item()} then {offsets[ray + 1].item()} at ray {ray}"
        )
    trust(offsets, samples)


def expect_numbers(name: str, numbers: Tensor, count: int, least: int = 0) -> None:
    """Raise ``ValueError`` unless ``numbers`` are in [least, count)."""
    bounds = (count, least) if least else (count,)
    if not numbers.numel() or trusted(numbers, *bounds):
        return
    lowest, highest = (int(bound) for bound in numbers.aminmax())
    if lowest < least or highest >= count:
        raise ValueError(f"{name}: expected numbers in [{least}, {count}), got {lowest} to {highest}")
    trust(numbers, *bounds)


def expect_shown(face: Tensor, points: Tensor, faces: Tensor) -> None:
    """Raise ``ValueError`` unless ``face`` is (N,H,W) and shows nothing but ``faces``."""
    expect("face", face, (len(points), "H", "W"), dtype=INTEGERS, like=points)
    count = faces.shape[-2]
    if not face.numel() or trusted(face, count):
        return
    if int(face.max()) >= count:
        raise ValueError(f"face: expected numbers below {count}, the number of faces, got {int(face.max())}")
    trust(face, count)


def expect_vertices(name: str, rows: Tensor, vertices: int, required: int = 3) -> None:
    """Raise ``ValueError`` unless the numbers in ``rows`` (...,K) suit ``vertices`` vertices.

    Each is in [0, V) or -1, and of the first ``required`` none is -1 but in padding, a row of nothing else. A tensor's
    numbers are read when it is first met and whenever PyTorch has seen it written to.
    """
    if rows.numel() == 0:
        return
    version = None if rows.is_inference() else rows._version
    known = _known.get(rows)
    if known is None or version is None or known[:2] != (version, required):
        lowest, highest = torch.stack(rows.aminmax()).tolist()
        lacking = lowest < 0 and bool(_lacking(rows, required).any())
        known = _known[rows] = (version, required, lowest, highest, lacking)
    _, _, lowest, highest, lacking = known
    if lowest < -1 or highest >= vertices or lacking:
        raise ValueError(explain_vertices(name, rows, vertices, required))


def explain_vertices(name: str, rows: Tensor, vertices: int, required: int = 3) -> str:
    """Which of ``rows`` is the first that cannot be, and what was expected."""
    bad = ((rows < -1) | (rows >= vertices)).any(-1) | _lacking(rows, required)  # (...)
    where = tuple(bad.nonzero()[0].tolist())
    found = f"row {', '.join(map(str, where))} is {tuple(rows[where].tolist())}"
    absent = "-1 where there is none" if required < rows.shape[-1] else "or -1 alone in a row of padding"
    return f"{name}: {found}; expected vertex numbers from 0 to {vertices - 1}, {absent}"


def _lacking(rows: Tensor, required: int) -> Tensor:
    """Rows (...) without a required vertex that are no padding."""
    return (rows[..., :required] < 0).any(-1) & (rows != -1).any(-1)
