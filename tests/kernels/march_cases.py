"""What the tests of ``march`` and its companions share: seeded cases, and the types of their Triton kernels."""

import torch

from nerfkit.kernels import use
from nerfkit.kernels.march import intersect_box, march
from nerfkit.kernels.philox import Draw

BACKENDS = ("reference", "cpu")
CASES = (
    "shell",
    "scattered",
    "full",
    "empty",
    "one_cell",
    "no_rays",
    "axis_aligned",
    "all_miss",
    "far_away",
    "not_clipped",
    "small_steps",
    "many_runs",
    "islands",
    "jittered",
    "stopped",
    "capped",
    "roomy",
    "tight",
)


CAPACITY = {"roomy": 700, "tight": 200}  # of samples; the case has some 430


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


def grid_centers(size):
    c = (torch.arange(size) + 0.5) * 2 / size - 1
    return torch.stack(torch.meshgrid(c, c, c, indexing="ij"), -1)  # (G, G, G, 3)


def make(case, device="cpu"):
    """Arguments and keywords of ``march``, seeded."""
    generator = torch.Generator().manual_seed(13)
    size = {"one_cell": 1, "scattered": 13, "axis_aligned": 8, "small_steps": 5, "many_runs": 33, "islands": 51}.get(
        case, 20
    )
    radius = grid_centers(size).norm(dim=-1)
    occupancy = (radius - 0.6).abs() < 0.15
    if case in ("scattered", "axis_aligned", "small_steps", "many_runs", "stopped", "capped", "far_away"):
        occupancy = torch.rand(size, size, size, generator=generator) < 0.3
    if case in ("full", "one_cell"):
        occupancy = torch.ones(size, size, size, dtype=torch.uint8)
    if case == "islands":  # two, and much empty space around and between them
        middles = torch.tensor([[0.4, -0.3, 0.1], [-0.3, 0.2, 0.05]])
        away = torch.stack([(grid_centers(size) - middle).norm(dim=-1) for middle in middles])
        occupancy = (away < 0.3).any(0)
    if case == "empty":
        occupancy = torch.zeros_like(occupancy)
    rays = 0 if case == "no_rays" else 41
    origins = 2.5 * unit(torch.randn(rays, 3, generator=generator))
    if case != "all_miss":
        origins[::7] *= 0.2  # some start inside
    target = 1.4 * torch.rand(rays, 3, generator=generator) - 0.7
    if case == "all_miss":
        target = 3 * origins
    if case == "far_away":
        origins = origins * 1e3
    directions = unit(target - origins)
    if case == "axis_aligned":
        axis = torch.arange(rays) % 3
        directions = torch.nn.functional.one_hot(axis, 3).float() * (1 - 2 * (torch.arange(rays) % 2))[:, None]
        origins = 2.0 * torch.rand(rays, 3, generator=generator) - 1
        origins[::2] = (origins[::2] * 4).round() / 4  # on the walls between cells
        origins -= 2 * directions
    near, far = intersect_box(origins, directions, near_plane=0.1)
    if case == "not_clipped":
        near, far = torch.zeros_like(near), torch.full_like(far, 7.0)
    step = {"far_away": 0.05, "small_steps": 0.008, "one_cell": 0.3}.get(case, 0.05)
    keywords = {}
    if case == "jittered":
        keywords = {"jitter": Draw(2**33 + 3, 5, 100)}
    if case == "stopped":
        densities = 40 * torch.rand(size, size, size, generator=generator)
        keywords = {"jitter": (1, 2), "density_grid": densities.to(device), "min_transmittance": 0.3}
    if case == "capped":
        keywords = {"max_samples_per_ray": 5}
    if case in CAPACITY:
        keywords = {"capacity": CAPACITY[case], "jitter": (1, 2)}
    return tuple(x.to(device) for x in (origins, directions, near, far, occupancy)), step, keywords


def run(case, backend, device="cpu"):
    tensors, step, keywords = make(case, device)
    with use(backend):
        return march(*tensors, step, **keywords)


# Of every Triton kernel of the folder: a name means the same in all of them.
FLOATS = (
    *("origins", "directions", "near", "far", "density", "start", "end", "points", "fractions", "depths", "edges"),
    *("weights", "out", "grad_points", "grad_origins", "grad_directions"),
)
SIGNATURE = {
    **{f"{name}_ptr": "*fp32" for name in FLOATS},
    **{f"{name}_ptr": "*i64" for name in ("counts", "offsets", "ray_index")},
    **{f"{name}_ptr": "*u8" for name in ("occupancy", "distance")},
    **dict.fromkeys(("step", "first", "size", "blocks_per_side", "max_samples", "rays", "bins", "count"), "i32"),
    **dict.fromkeys(("step_size", "depth_limit", "near_plane"), "fp32"),
    "seed": "i64",
}
