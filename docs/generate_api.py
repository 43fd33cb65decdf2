"""Writes docs/api.md from the docstrings of what ``import nerfkit`` offers: ``python docs/generate_api.py``."""

import inspect
import re
import textwrap
from dataclasses import is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import nerfkit as nk

PAGE = Path(__file__).with_name("api.md")
GROUPS = {
    "Scenes": ("open_scene", "Scene", "SynthesisOptions", "synthesize"),
    "Cameras": ("Cameras", "look_at", "from_opencv", "from_opengl", "from_pytorch3d"),
    "Fields": ("build_model", "RadianceModel", "FieldFit", "evaluate_field", "Field"),
    "Options of the field": (
        "HarmonicOptions",
        "HashGridOptions",
        "PlanesOptions",
        "OccupancyOptions",
        "StratifiedOptions",
        "TrainerOptions",
    ),
    "Options of the mesh": ("ExtractOptions", "RefineOptions"),
    "Rays": ("sample_rays", "intersect_box", "march", "positions", "composite"),
    "Meshes": ("Mesh", "load_mesh", "save_mesh", "icosphere", "coarse_mesh", "refine_mesh", "remesh"),
    "Rasterizer": ("render", "rasterize", "interpolate", "sample_texture", "antialias", "shade"),
    "Viewer": ("show",),
    "Losses": ("losses",),
    "Measures": ("measures",),
}
INTRODUCTION = """# Python API

Generated from the docstrings by `python docs/generate_api.py`. Everything here is an attribute of `nerfkit`, loaded
when it is first used: `import nerfkit as nk`. Tensors, numbers and option objects go in; no config, no run folder.
`examples/` has whole programs. A wrong shape, dtype or device is a `ValueError` that names the argument; files and
options that cannot be used are `nerfkit.errors.UserError`.
"""


def page() -> str:
    """The whole of docs/api.md."""
    lines = [INTRODUCTION]
    for title, names in GROUPS.items():
        lines.append(f"## {title}\n")
        for name in names:
            found = getattr(nk, name)
            if inspect.ismodule(found):
                lines.append(f"`nk.{name}`: {paragraph(found)}\n")
                lines += [entry(f"{name}.{key}", item) for key, item in public(found)]
            else:
                lines.append(entry(name, found))
    return "\n".join(lines)


def public(module: Any) -> list[tuple[str, Any]]:
    """Functions that a module defines, in its order."""
    own = [(k, v) for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
    return [(key, item) for key, item in own if not key.startswith("_")]


def entry(name: str, item: Any) -> str:
    """Signature and docstring of a class or function, and those of its methods; of options only a class's own."""
    text = [f"### nk.{name}\n", f"```python\n{name.rpartition('.')[2]}{signature(item)}\n```\n", body(item)]
    if inspect.isclass(item):
        bases = [item] if is_dataclass(item) else item.__mro__[::-1]
        ours = [vars(base).items() for base in bases if base.__module__.startswith(nk.__name__)]
        for key, method in chain(*ours):
            function = method.__func__ if isinstance(method, classmethod | staticmethod) else method
            if inspect.isfunction(function) and not key.startswith("_") and function.__doc__:
                text.append(f"**`{key}{signature(function)}`** {paragraph(function)}\n")
    return "\n".join(text)


def signature(item: Any) -> str:
    """As one would write it, without packages before the names of types."""
    try:
        text = str(inspect.signature(item))
    except ValueError:
        return "(...)"
    text = re.sub(r"\b(?:[a-z_0-9]+\.)+([A-Za-z_])", r"\1", text).replace("'", "")
    text = re.sub(r"<factory>|<[^>]*>", "...", text)
    if len(text) > 100:
        inside, _, after = text[1:].rpartition(")")
        text = "(\n    " + ",\n    ".join(split(inside)) + ",\n)" + after
    return text


def split(text: str) -> list[str]:
    """The parameters of a signature: a comma inside brackets separates none."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def body(item: Any) -> str:
    """The docstring; ``Args:`` and its kind become bold words, what is indented stays as it is."""
    text = inspect.cleandoc(item.__doc__ or "")
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    blocks = []
    for block in text.split("\n\n"):
        head, _, rest = block.partition("\n")
        if re.fullmatch(r"(Args|Returns|Raises|Attributes):", head):
            lines = textwrap.dedent(rest).splitlines()
            items = [f"- {line}" if not line.startswith(" ") else f"  {line.strip()}" for line in lines]
            block = f"**{head}**\n\n" + "\n".join(items)
        blocks.append(block)
    return "\n\n".join(blocks) + "\n"


def paragraph(item: Any) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(re.sub(r"``([^`]*)``", r"`\1`", inspect.cleandoc(item.__doc__ or "").split("\n\n")[0]).split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
