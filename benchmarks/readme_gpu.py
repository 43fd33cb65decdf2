"""The tables of what a GPU did, for docs/measured.md: fields, training, meshes, pictures."""

from pathlib import Path
from typing import Any

from benchmarks import readme_mesh
from benchmarks.results import NOT_RUN, load, table, value

PSNR_WANTED = "33.8"  # dB
SCENES = {
    "clock": "own clock",
    "clock_hash_grid": "own clock, `field=hash_grid`",
    "clock_planes": "own clock, `field=planes`",
    "kaolin": "Kaolin's clock",
    "mic": "NeRF-synthetic mic",
}

FIELDS = {
    "tutorial": "60 octaves, 256 wide, 2 layers",
    "wide": "10 octaves, 256 wide, 2 layers",
    "preset": "10 octaves, 128 wide, 4 layers",
    "default": "8 octaves, 64 wide, 3 layers",
}


def field_table(found: dict[str, Any] | None) -> list[str]:
    """The harmonic field on a GPU: rates, shares of the floors, and how many times as long PyTorch takes."""
    rows = []
    for name, label in FIELDS.items():
        row = [label]
        for mode in ("inference", "training"):
            best = best_of(found, name, mode)
            row += [
                value(best, "best.samples_per_second", "{:.0f} M samples/s", 1e-6),
                value(best, "best.share_of_floor", "{:.0f} %", 100),
            ]
        entries = f"fields.{name}.packed.training.contestants"
        row += [value(found, f"{entries}.{who}.times_our_best", "{:.1f} x") for who in ("pytorch", "compile")]
        rows.append(row)
    header = [
        "harmonic field in bf16", "inference", "of its floor", "training", "of its floor", "PyTorch's time to train",
        "torch.compile's",
    ]  # fmt: skip
    return table(header, rows)


FEATURES = {
    "hash_grid": "hashed grids, 8 levels of 2 features, 32 wide",
    "planes": "planes, 3 levels of 16 features, 32 wide",
}


def feature_table(found: dict[str, Any] | None) -> list[str]:
    """The fields of features on a GPU: as ``field_table``, with the share of the time that the GPU is busy."""
    rows = []
    for name, label in FEATURES.items():
        row = [label]
        for mode in ("inference", "training"):
            ours = f"features.{name}.packed.{mode}.contestants.one_kernel"
            row += [
                value(found, f"{ours}.samples_per_second", "{:.0f} M samples/s", 1e-6),
                value(found, f"{ours}.share_of_floor", "{:.0f} %", 100),
                value(found, f"{ours}.gpu_share_of_floor", "{:.0f} %", 100),
            ]
        pytorch = f"features.{name}.packed.training.contestants.pytorch.times_our_best"
        rows.append([*row, value(found, pytorch, "{:.1f} x")])
    header = [
        "fields of features in float32", "inference", "of its floor", "while the GPU is busy", "training",
        "of its floor", "while the GPU is busy", "PyTorch's time to train",
    ]  # fmt: skip
    return table(header, rows)


def best_of(found: dict[str, Any] | None, shape: str, mode: str) -> dict[str, Any] | None:
    """The faster of the fused kernel's two ways over packed rays, as results with it under ``best``."""
    node: Any = found["results"] if found else {}
    for key in ("fields", shape, "packed", mode, "contestants"):
        node = node.get(key, {})
    ours = [entry for name, entry in node.items() if name.startswith("one_kernel") and "median_ms" in entry]
    return {"results": {"best": min(ours, key=lambda entry: entry["median_ms"])}} if ours else None


def gpu_training_table(found: dict[str, Any] | None) -> list[str]:
    """Training with the gpu preset on each scene."""
    rows = []
    for name, label in SCENES.items():
        at = f"training.{name}"
        rows.append(
            [
                label,
                value(found, f"{at}.steps_per_second", "{:.0f}"),
                value(found, f"{at}.samples_per_second", "{:.1f} M", 1e-6),
                value(found, f"{at}.gaps.idle_share", "{:.1f} %", 100),
                value(found, f"{at}.seconds", "{:.0f} s"),
                value(found, f"{at}.psnr", "{:.2f}"),
                reached(found, name),
                value(found, f"{at}.peak_bytes", "{:.2f} GB", 1e-9),
            ]
        )
    header = [
        "training, gpu preset", "steps/s", "samples/s", "GPU idle", "training", "held-out PSNR",
        f"time to {PSNR_WANTED} dB", "GPU memory",
    ]  # fmt: skip
    return table(header, rows)


def reached(found: dict[str, Any] | None, scene: str) -> str:
    """The second at which a scene's held-out view had ``PSNR_WANTED`` dB, "not reached", or "not run"."""
    node = found["results"].get("training", {}).get(scene, {}) if found else {}
    if "seconds_to_psnr" not in node:
        return NOT_RUN
    second = node["seconds_to_psnr"].get(PSNR_WANTED)
    return "not reached" if second is None else f"{second:.1f} s"


def pictures_table(found: dict[str, Any] | None) -> list[str]:
    """Frames a second, and the memory of a picture's gradient."""
    frames, gradient = "pictures.frames", "pictures.gradient"
    rows = [
        ["frames at 800x800", value(found, f"{frames}.with_waves.frames_per_second", "{:.1f} a second")],
        ["the same without waves", value(found, f"{frames}.without_waves.frames_per_second", "{:.1f} a second")],
        [
            "memory of the gradient of 800x800 pixels, 192 samples each, 256 wide",
            value(found, f"{gradient}.bytes_above_weights", "{:.2f} GB", 1e-9),
        ],
    ]
    return table(["pictures on a GPU", "measured"], rows)


def gpu_section(folder: Path) -> list[str]:
    """Its tables, under a line that names the GPU and what it reaches; one line where there was none."""
    found = load("gpu", folder)
    if found is None:
        return [f"On a GPU: {NOT_RUN}."]
    machine = found["machine"]
    rates = value(found, "peaks.bf16_tflops", "{:.0f} TFLOP/s"), value(found, "peaks.copy_gb_per_s", "{:.0f} GB/s")
    where = (
        f"On a GPU: {machine['device']}; {machine['date'][:10]}. It reaches {rates[0]} in bf16 and copies {rates[1]}."
    )
    tables = (field_table, feature_table, readme_mesh.gpu_table, gpu_training_table, pictures_table)
    return [where, *(line for part in tables for line in ("", *part(found)))]
