"""Each kernel against its floor, against PyTorch and against other projects, in one run."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks import composite, gpu_features as features, gpu_fields as fields, gpu_profile
from benchmarks.gpu_floors import Peaks, shares, size_of
from benchmarks.gpu_limits import Budget, Entry, attempt, peak_bytes
from benchmarks.gpu_peers import PEERS
from nerfkit.kernels import use
from nerfkit.kernels.march import intersect_box, march
from nerfkit.kernels.sample_rays import sample_rays

SAMPLES = 1 << 18
FIRST_CALL = 60.0  # seconds that a contestant's first call may take, its compilation included
TIMED = 2.0  # seconds of timed calls of one row's contestants together
RESERVE = 4.0  # seconds that a row without ``torch.compile`` takes
TORCH_COMPILE = "compile"
Call = Callable[[], Any]


def with_reference(function: Call) -> Call:
    """The same call answered by the PyTorch reference."""

    def run() -> object:
        with use("reference"):
            return function()

    return run


def sample_rays_call(device: str | torch.device, rays: int) -> tuple[Call, tuple[Tensor, ...]]:
    """So many rays from 100 views of 800 x 800 pixels, and what is read for them."""
    camera_to_world = torch.eye(3, 4, device=device).expand(100, 3, 4).contiguous()
    intrinsics = torch.tensor([1111.0, 1111.0, 400.0, 400.0], device=device).expand(100, 4).contiguous()
    return lambda: sample_rays(camera_to_world, intrinsics, 800, 800, rays, seed=0, step=0), (
        camera_to_world,
        intrinsics,
    )


def march_call(device: str | torch.device, rays: int) -> tuple[Call, tuple[Tensor, ...]]:
    """So many rays into a 64^3 grid that holds a ball of radius 1/2, 256 steps across the box."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator), dim=-1) * 3  # (R, 3)
    targets = torch.rand(rays, 3, generator=generator) - 0.5  # (R, 3)
    directions = torch.nn.functional.normalize(targets - origins, dim=-1).to(device)  # (R, 3)
    origins = origins.to(device)
    near, far = intersect_box(origins, directions)
    axis = (torch.arange(64, device=device) + 0.5) / 32 - 1  # (G,)
    squared = axis.square()
    occupancy = squared[:, None, None] + squared[:, None] + squared < 0.25  # (G, G, G)
    inputs = origins, directions, near, far, occupancy
    return lambda: march(*inputs, 2 / 256), inputs


def timed(
    calls: Mapping[str, Call], device: str | torch.device, work: Mapping[str, dict[str, Any]], peaks: Peaks
) -> dict[str, Entry]:
    """Medians of calls that have been made once, in turns, with rates; ``work`` holds ``shares``' words for each."""
    entries: dict[str, Entry] = {}
    for name, (found, profile) in gpu_profile.medians(calls, TIMED, device).items():
        entries[name] = {**found, **shares(found["median_ms"], profile and profile.busy_ms, **work[name])}
        if profile is not None:
            entries[name]["kernels_ms"] = gpu_profile.longest(profile)
    return entries


def simple_cases(device: str | torch.device, peaks: Peaks, budget: Budget, scale: float = 1.0) -> dict[str, Any]:
    """sample_rays, march and composite, which move bytes and compute little; ``scale`` shrinks them."""
    rays = max(1, round(16_384 * scale))
    batches = {"packed": composite.training_rays(), "lockstep": composite.lockstep_rays()}
    cases: dict[str, Callable[[], dict[str, Entry]]] = {
        "sample_rays": lambda: _bytes_alone(*sample_rays_call(device, rays), rays, device, peaks),
        "march": lambda: _bytes_alone(*march_call(device, rays), rays, device, peaks),
    }
    for name, lengths in batches.items():
        part = lengths[: max(1, round(len(lengths) * scale))]
        cases[f"composite_{name}"] = lambda part=part: _composite(part, device, peaks)  # type: ignore[misc]
    results: dict[str, Any] = {}
    for name, case in cases.items():
        found, reason = attempt(case, budget.left())
        results[name] = found if found is not None else reason
    return results


def _bytes_alone(
    call: Call, inputs: tuple[Tensor, ...], rays: int, device: str | torch.device, peaks: Peaks
) -> dict[str, Entry]:
    """Floor: inputs read and results written once."""
    results = call()
    samples = len(getattr(results, "t_start", results[0]))
    work = {"samples": samples, "work": 0, "traffic": size_of(*inputs, *results), **_peak(peaks)}
    contestants = {"kernel": call, "pytorch": with_reference(call)}
    contestants["pytorch"]()
    entries = timed(contestants, device, dict.fromkeys(contestants, work), peaks)
    return {"rays": {"count": rays, "samples": samples}, **entries}


def _composite(lengths: Tensor, device: str | torch.device, peaks: Peaks) -> dict[str, Entry]:
    """Floor of a forward and backward: 24 bytes a sample read twice and 16 written, 20 and 28 bytes a ray."""
    inputs = composite.packed_inputs(lengths, str(device))
    samples, rays = len(inputs[0]), len(lengths)
    calls: dict[str, Call] = dict(composite.contestants(inputs))
    entries: dict[str, Entry] = {"rays": {"count": rays, "samples": samples}}
    for name, build in PEERS.items():
        call, entries[name] = attempt(lambda build=build: _built(build, inputs), FIRST_CALL, "others")  # type: ignore[misc]
        if call is not None:
            calls[name] = call
    work = {"samples": samples, "work": 0, "traffic": 64 * samples + 48 * rays, **_peak(peaks)}
    return entries | timed(calls, device, dict.fromkeys(calls, work), peaks)


def _built(build: Callable[[composite.Inputs], Call], inputs: composite.Inputs) -> Call:
    call = build(inputs)
    call()
    return call


def _peak(peaks: Peaks) -> dict[str, float]:
    return {"peak": peaks.bf16, "bandwidth": peaks.copy}


def renders(training: bool) -> dict[str, Callable[[], fields.Render]]:
    """The field's contestants, ours first; without gradients there is nothing to store."""
    found: dict[str, Callable[[], fields.Render]] = {"one_kernel": lambda: fields.one_kernel}
    if training:
        found["one_kernel_storing"] = lambda: fields.storing
    found |= {"two_kernels": lambda: fields.two_kernels, "pytorch": lambda: fields.pytorch}
    return found | {TORCH_COMPILE: fields.compiled}


def rows() -> Iterator[tuple[str, str, bool]]:
    """(shape, batch, training), those that matter most first."""
    for batch in fields.BATCHES:
        for shape in fields.SHAPES:
            for training in (True, False):
                yield shape, batch, training


def field_cases(device: str | torch.device, peaks: Peaks, budget: Budget, samples: int = SAMPLES) -> dict[str, Any]:
    """results[shape][batch]["training" or "inference"]; what there is no time left for says so."""
    results: dict[str, Any] = {}
    waiting = list(rows())
    for number, (shape, batch, training) in enumerate(waiting):
        node = results.setdefault(shape, {"flops": _flops(fields.SHAPES[shape])}).setdefault(batch, {})
        mode = "training" if training else "inference"
        if budget.left() < RESERVE:
            node[mode] = {"not_run": "no time left"}
            continue
        spare = budget.left() - RESERVE * (len(waiting) - number)
        skipped = "compiled for packed rays alone" if batch != "packed" else "no time left" if spare < 15 else None
        case = new_case(shape, batch, training, device, samples)
        found, reason = attempt(lambda case=case, skipped=skipped: field_row(case, peaks, skipped), budget.left())  # type: ignore[misc]
        node[mode] = found if found is not None else reason
        describe(f"{shape}, {batch}, {mode}", node[mode])
    return results


def feature_cases(device: str | torch.device, peaks: Peaks, budget: Budget, samples: int = SAMPLES) -> dict[str, Any]:
    """As ``field_cases``, of fields of features, whose contestants need no compiler but Triton's."""
    results: dict[str, Any] = {}
    for batch in fields.BATCHES:
        for shape, of in features.SHAPES.items():
            node = results.setdefault(shape, {"flops": _flops(of)}).setdefault(batch, {})
            for training in (True, False):
                mode = "training" if training else "inference"
                case = new_feature_case(shape, batch, training, device, samples)
                found, reason = attempt(
                    lambda case=case: field_row(case, peaks, contestants=features.RENDERS, oracle=features.plain),  # type: ignore[misc]
                    budget.left(),
                )
                node[mode] = found if found is not None else reason
                describe(f"{shape}, {batch}, {mode}", node[mode])
    return results


def new_feature_case(shape: str, batch: str, training: bool, device: str | torch.device, samples: int) -> fields.Case:
    """Seeded."""
    of = features.SHAPES[shape]
    inputs = fields.new_batch(fields.BATCHES[batch](samples), device)
    return fields.Case(of, inputs, features.new_weights(of, device), training)


def new_case(shape: str, batch: str, training: bool, device: str | torch.device, samples: int) -> fields.Case:
    """Seeded."""
    of = fields.SHAPES[shape]
    inputs = fields.new_batch(fields.BATCHES[batch](samples), device)
    return fields.Case(of, inputs, fields.new_weights(of, device), training)


def _flops(shape: fields.Shape | features.FeatureShape) -> dict[str, int]:
    return {**shape.flops._asdict(), "training_with_recompute": shape.flops.training(True)}


def field_row(
    case: fields.Case,
    peaks: Peaks,
    without_compile: str | None = None,
    *,
    contestants: Mapping[str, Callable[[], fields.Render]] | None = None,
    oracle: fields.Render = fields.plain,
) -> dict[str, Any]:
    """Every contestant: error and memory of one call, then medians in turns; the first's speed against each.

    Args:
        without_compile: why ``torch.compile`` is left out; None where it is not.
        contestants: by name; None takes ``renders``.
        oracle: what their errors are measured against.
    """
    device, samples = case.batch.x.device, len(case.batch.x)
    expected = fields.exact(case, oracle)
    entries: dict[str, Entry] = {}
    calls: dict[str, Call] = {}
    for name, build in (renders(case.training) if contestants is None else contestants).items():
        if name == TORCH_COMPILE and without_compile:
            entries[name] = {"not_run": without_compile}
            continue
        whose = "ours" if "kernel" in name else "others"
        checked, entries[name] = attempt(lambda build=build: _checked(case, build(), expected), FIRST_CALL, whose)  # type: ignore[misc, arg-type]
        if checked is not None:
            calls[name], entries[name] = checked
    peak = getattr(peaks, case.shape.precision)
    work = {
        name: {"samples": samples, "work": case.work(name in ("one_kernel", "two_kernels")), "traffic": case.traffic,
               "peak": peak, "bandwidth": peaks.copy}
        for name in calls
    }  # fmt: skip
    for name, found in timed(calls, device, work, peaks).items():
        entries[name] = found | entries[name]
    best = min(
        (e["median_ms"] for n, e in entries.items() if n.startswith("one_kernel") and "median_ms" in e), default=0
    )
    for entry in entries.values():
        if best and "median_ms" in entry:
            entry["times_our_best"] = round(entry["median_ms"] / best, 3)
    exact_in = str(expected.dtype).removeprefix("torch.")
    facts = {"rays": len(case.batch.directions), "samples": samples, "errors_against": exact_in}
    return {**facts, "contestants": entries}


def _checked(case: fields.Case, render: fields.Render, expected: fields.Exact) -> tuple[Call, Entry]:
    def call() -> object:
        return fields.run(case, render)

    entry: Entry = {"error": float(f"{fields.error(case, render, expected):.3g}")}
    memory = peak_bytes(call, case.batch.x.device)
    return call, entry if memory is None else entry | {"peak_bytes": memory}


def describe_simple(name: str, row: Mapping[str, Any]) -> None:
    """One line a case."""
    shown = [
        f"{who} {entry['median_ms']:.3f} ms ({100 * entry['share_of_floor']:.0f} % of the floor)"
        if "median_ms" in entry
        else f"{who}: {entry}"
        for who, entry in row.items()
        if isinstance(entry, dict) and who != "rays"
    ]
    print(f"{name}: {', '.join(shown) or row}", flush=True)


def describe(title: str, row: Mapping[str, Any]) -> None:
    """One line a contestant."""
    print(title if "contestants" in row else f"{title}: {row}", flush=True)
    for name, entry in row.get("contestants", {}).items():
        if "median_ms" not in entry:
            print(f"  {name:<20} {entry}", flush=True)
            continue
        rate, share = entry["samples_per_second"] / 1e6, 100 * entry["share_of_floor"]
        busy = f", {100 * entry['gpu_share_of_floor']:.0f} % on the GPU" if "gpu_share_of_floor" in entry else ""
        print(
            f"  {name:<20} {entry['median_ms']:9.3f} ms {rate:9.1f} M samples/s {share:5.1f} % of the floor{busy}, "
            f"error {entry['error']:.1e}, {entry.get('times_our_best', math.nan):.2f} x our time",
            flush=True,
        )


def warm(shape: str, with_compile: bool, device: str | torch.device = "cuda", samples: int = SAMPLES) -> None:
    """Fill the compilers' caches for a shape: every contestant of ours once, or ``torch.compile``'s."""
    if shape in features.SHAPES:
        case = new_feature_case(shape, "packed", True, device, samples)
        attempt(lambda: fields.run(case, features.one_kernel), 10 * FIRST_CALL)
        return
    for batch in ("packed",) if with_compile else tuple(fields.BATCHES):
        for training in (True, False):
            case = new_case(shape, batch, training, device, samples)
            for name, build in renders(training).items():
                if name != "pytorch" and (name == TORCH_COMPILE) == with_compile:
                    attempt(lambda case=case, build=build: fields.run(case, build()), 10 * FIRST_CALL)  # type: ignore[misc]
