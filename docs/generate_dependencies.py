"""Writes docs/dependencies.md from the metadata of the installed packages: ``python docs/generate_dependencies.py``."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).with_name("dependencies.md")
OURS = "nerfkit"
COPYLEFT = re.compile(r"\b[AL]?GPL|General Public License", re.IGNORECASE)
"""The GPL, the AGPL and the LGPL."""
INTRODUCTION = """# Dependencies

What `pip install nerfkit` brings, and its extras, directly or through others; generated from the metadata of the
packages as they were installed, by `python docs/generate_dependencies.py`. `tests/test_dependencies.py` fails where the
metadata of one says GPL, AGPL or LGPL. `requirements-ci.txt` pins what CI installs, by hash; `.ci/pin.py` makes it.
"""
BY_HAND = """
## Versions that were tried

| what | versions | how |
| --- | --- | --- |
| Python | 3.11 | CI |
| Python | 3.12.1, 3.13.0 | the wheel with PyTorch for CUDA, on a CPU, away from the checkout: `preset=smoke` |
| Python | 3.12.1, 3.13.0 | tests that are not `slow`, the folders named below: 2,241 pass, 10 are skipped |
| Python | 3.14 | not run; `requires-python` leaves it out: xatlas has no wheel for it |
| Triton | 3.7.1 | CI: the compile budgets and the interpreter |
| Triton | 3.9.0 | compiled without a GPU, all kernels: of 371 tests 335 pass, 36 are over a budget of 3.7.1's |
| Triton | 3.9.0 | interpreted, the kernels named below: of 305 tests 272 passed, 33 failed and are mended |
| Triton | 3.8.0 | compiled, all kernels but the two fields': of 178 tests 169 pass, 9 are over; interpreted: not run |
| Triton | 3.6.0 | compiled, all kernels but the two fields': of 178 tests 173 pass, 5 are over |
| Triton | 3.6.0 | compiled, the two fields': of 189 tests 137 pass, 52 are over |
| Triton | 3.6.0 | interpreted, but the fields': of 206 tests all pass with NumPy 2.3.5, 77 with 2.4.6 |

The tests under 3.12.1 and 3.13.0: those of mesh, scenes, view, cameras, runs, volume, fields, report, viewer, studio,
recipes, raster and prepare, and of options, sweeps, API, dependencies, the pipeline, commands, resuming and the wheel;
the kernels', the fits' and all that are `slow`: not run. Under 3.13.0 two of them failed, which took builds of PyTorch
for CUDA for others; they are mended and pass.

Interpreted on 2026-11-30: philox, rays, segments, marching, compositing, lazy_adam, interpolate, textures, texel_ties,
pixel_loss, shape_terms, rasterize, antialias, distance_grid, soft_mask and edge_gradient, and under 3.9.0 both fields;
`test_*_peers.py`, `test_feature_field_edges.py`, `test_rasterize_witness.py`, the fits and the dry run: not run.

- 3.6.0's interpreter needs NumPy below 2.4: it makes an index of an array of one number, which NumPy 2.4 refuses.
- 3.9.0's took masks with a scalar's truth in them, `inside & (tl.program_id(1) == 0)`, for int32 and refused them: 8
  tests of antialias, 25 of the field of features. They are written otherwise since, and all 33 pass; under 3.7.1
  both kernels are within their budgets as before.

Every kernel compiles under every Triton. Registers beyond the budget (which is 3.7.1's and stands):

- 3.9.0: the field of features' products (sm_80: 80 to 93, budgets 40 to 56), its derivatives (sm_80: 62 to 202, budgets
  56 to 136; sm_90: 8 bytes of stack), layers and positions by a quarter at most; the harmonic field's ray sums (up to
  92, budget 72), and by a few its starts and backward; its positions on gfx942 with 8192 bytes of shared memory, budget
  4096; roughness backward on sm_90 (137, 112); `edge_gradient.fragment` on sm_90 by 8 bytes of stack; by a quarter at
  most contour antialiasing, `lazy_adam.step`, `shape_terms` and SoftRas' pictures.
- 3.8.0: roughness backward on sm_90 (137, 112) and sm_80 (106, 104); by a quarter at most contour antialiasing,
  `shape_terms` and SoftRas' opacity.
- 3.6.0: by a quarter at most `shape_terms`, `lazy_adam.step`, roughness and nest backward; of the field of features
  encodings, positions and the planes' entries with 2048 bytes of shared memory (budgets 0 and 128), the planes'
  positions (sm_80, sm_90: 126, 127; budgets 72, 80), their entries (139 to 145, 120), products (48 to 56, budgets 40 to
  48), layers by a third at most, the rest and the derivatives by an eighth at most; nothing of the harmonic field.

On 2026-11-30 the 93 packages that CI pins, PyTorch among them, were compared with PyPA's 2,661 advisories as of
2024-10-10: none is in an affected range. Later advisories were **not** looked for: run `pip-audit`.

## What metadata does not say

Wheels bundle other projects' libraries, which have licenses of their own. Looked at by hand:

- imageio-ffmpeg's holds a program, FFmpeg, that was configured with `--enable-gpl --enable-version3`: it is under the
  GPL. nerfkit starts it as a process of its own for videos. Who may not pass it on removes it and sets
  `IMAGEIO_FFMPEG_EXE` to another FFmpeg.
- pillow-heif's (extra `raw`) holds libx265, which is under the GPL, and libheif and libde265, under the LGPL; rawpy's
  (extra `raw`) holds LibRaw, under the LGPL or the CDDL.
- numpy's and scipy's hold libgfortran and libquadmath; pycolmap's, fast-simplification's and rawpy's GCC's OpenMP.
"""


def named(name: str) -> str:
    """A name as packages are told apart by it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(name: str) -> Distribution | None:
    """The package, if it is installed."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def wanted(package: Distribution, extra: str = "") -> list[Requirement]:
    """What a package requires here, or what one of its extras adds."""
    found = [Requirement(text) for text in package.requires or ()]
    plain = [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]
    if not extra:
        return plain
    return [each for each in found if each not in plain and each.marker and each.marker.evaluate({"extra": extra})]


def closure(first: list[Requirement]) -> dict[str, Distribution | None]:
    """Packages by name, with all that they require in turn; None for one that is not installed."""
    found: dict[str, Distribution | None] = {}
    stack = [(each.name, extra) for each in first for extra in ("", *each.extras)]
    seen = set(stack)
    while stack:
        name, extra = stack.pop()
        package = found[named(name)] = installed(name)
        for each in wanted(package, extra) if package else ():
            more = {(each.name, inner) for inner in ("", *each.extras)} - seen
            seen |= more
            stack += more
    return found


def license_of(package: Distribution) -> str:
    """What metadata says: the SPDX expression, else a short text, else the classifiers, else the text's first line."""
    about = package.metadata
    text = (about.get("License") or "").strip()
    classifiers = [
        line.split("::")[-1].strip() for line in about.get_all("Classifier", []) if line.startswith("License")
    ]
    short = text if text not in ("", "UNKNOWN") and "\n" not in text and len(text) < 60 else ""
    return about.get("License-Expression") or short or " AND ".join(classifiers) or text.split("\n")[0] or "not stated"


def groups() -> dict[str, dict[str, Distribution | None]]:
    """The closures of ``install`` and of every extra, each without what an earlier one has."""
    package = distribution(OURS)
    found: dict[str, dict[str, Distribution | None]] = {}
    for extra in (
        "",
        *sorted(set(package.metadata.get_all("Provides-Extra", [])), key=lambda name: (name == "dev", name)),
    ):
        earlier = {name for group in found.values() for name in group}
        found[extra] = {k: v for k, v in sorted(closure(wanted(package, extra)).items()) if k not in earlier}
    return found


def page() -> str:
    """The whole of docs/dependencies.md."""
    lines = [INTRODUCTION]
    for extra, packages in groups().items():
        lines += [
            f"## {f'Extra `{extra}`' if extra else 'Always'}\n",
            "| package | version | license |",
            "| --- | --- | --- |",
        ]
        for name, package in packages.items():
            facts = (
                (package.version.partition("+")[0], license_of(package)) if package else ("not installed", "not read")
            )
            lines.append(f"| {name} | {' | '.join(facts)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n" + BY_HAND


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
