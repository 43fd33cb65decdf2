"""``python -m benchmarks NAME [ARGUMENTS]`` runs one benchmark; without a name it lists them."""

import difflib
import importlib
import sys

# One line a benchmark: the module benchmarks/NAME.py with ``main(argv: list[str]) -> int``, imported when it is run.
BENCHMARKS = {
    "field": "the harmonic field on the CPU against the machine's matrix products and against PyTorch",
    "composite": "compositing, forward and backward: the CPU kernel against PyTorch",
    "raster_gradients": "the rasterizer's gradients against supersampled finite differences",
    "raster_speed": "the rasterizer's times, forward and backward",
    "runs": "train.py as a user starts it, on the project's clock and on real data; keeps metrics.json",
    "equal_time": "held-out pictures of the default field and of field=auto after equal times, over seeds",
    "photos": "train.py on photos without masks: fields, meshes, learned exposure and cameras; keeps metrics.json",
    "perturbed": "cameras and exposure that are off, and what learning them brings back",
    "surfaces": "fields with and without a signed distance: pictures, and meshes against the truth, over seeds",
    "recipes": "the named experiments as a user starts them; keeps their metrics.json",
    "training": "samples a second through the whole training step",
    "many_photos": "memory and time of thousands of photos",
    "many_runs": "how long a list of a thousand runs takes",
    "first_use": "from phone photos without cameras to a field in a browser: what a new user's commands take",
    "ranks": "several processes of one run: the same bits twice, how near they are to one, kills",
    "scaling": "samples a second of one process and of several",
    "growth": "how time and memory grow with rays, samples, widths, grids, faces, textures and photos",
    "big": "peak memory and seconds of large pictures and fine meshes",
    "peers": "fields at equal time and silhouette gradients beside other ways to compute them",
    "busy": "training and refinement beside other programs that keep processors busy",
    "tutorial": "PyTorch3D's NeRF tutorial recipe against the default, at equal time",
    "viewer": "seconds until the viewer's first picture, and what training costs while it is looked at",
    "frames": "frames of a run's field and mesh on a CPU",
    "exports": "exported files by other readers, Khronos' validator and Blender: textures, levels of detail, cameras",
    "pictures": "the documentation's pictures, from a run folder",
    "gallery": "the pictures of docs/gallery.md, by short runs",
    "readme": "the README's table, from the saved results",
    "gpu": "on a GPU: the kernels' tests, then their times against PyTorch",
    "status": "which kernels have changed since they were last verified on a GPU",
}


def main(arguments: list[str]) -> int:
    """Run the named benchmark with the rest of the arguments. Exit code 2 where there is none of that name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        for name, about in BENCHMARKS.items():
            print(f"  {name:<18} {about}")
        return 0
    name, *rest = arguments
    if name not in BENCHMARKS:
        close = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(BENCHMARKS)}"
        print(f"no benchmark is named {name!r}; {hint}", file=sys.stderr)
        return 2
    return importlib.import_module(f"benchmarks.{name}").main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
