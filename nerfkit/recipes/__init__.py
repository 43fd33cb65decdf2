"""Named experiments with meshes, each a short fit of its own: what ``experiment=NAME`` runs in place of the stages.

A recipe is a function ``run(config, record, device)`` of a module of this package: it reads ``config.recipe``,
writes its curves, pictures, meshes and figures into the run folder, and returns nothing. ``config.budget`` is the share
of its steps to do.
"""

from collections.abc import Callable
from importlib import import_module

import torch
from omegaconf import DictConfig

from nerfkit.errors import ConfigError
from nerfkit.runs.folder import Run

# Name -> module of this package, and the function in it.
RECIPES = {
    "dibr_sphere": "dibr_sphere:run",
    "mesh_deform": "mesh_deform:run",
    "mesh_texture": "mesh_texture:run",
    "nmr_draw": "nmr:draw",
    "nmr_vertices": "nmr:vertices",
    "nmr_textures": "nmr:textures",
    "nmr_camera": "nmr:camera",
    "silhouette_fit": "silhouette_fit:run",
    "visibility_study": "visibility_study:run",
}

Recipe = Callable[[DictConfig, Run, torch.device], None]


def find_recipe(name: str) -> Recipe:
    """The function that runs the recipe; its module is loaded only now.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe.name={name}: unknown recipe. Known: {', '.join(RECIPES)}")
    module, function = RECIPES[name].split(":")
    run: Recipe = getattr(import_module(f"nerfkit.recipes.{module}"), function)
    return run


def steps_of(config: DictConfig) -> int:
    """How many steps to do: ``recipe.steps`` times ``budget``, at least one."""
    return max(1, round(config.recipe.steps * config.budget))
