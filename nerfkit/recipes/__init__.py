"""Named experiments with meshes, each a short fit of its own: what ``experiment=NAME`` runs in place of the stages.

A recipe is a module of this room with ``run(config, record, device)``: it reads ``config.recipe``, writes its curves,
pictures, meshes and figures into the run folder, and returns nothing. ``config.budget`` is the share of its steps to do.
"""

from collections.abc import Callable
from importlib import import_module

import torch
from omegaconf import DictConfig

from nerfkit.errors import ConfigError
from nerfkit.runs.folder import Run

RECIPES = ("dibr_sphere",)

Recipe = Callable[[DictConfig, Run, torch.device], None]


def find_recipe(name: str) -> Recipe:
    """The function that runs the recipe; its module is loaded only now.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe.name={name}: unknown recipe. Known: {', '.join(RECIPES)}")
    run: Recipe = import_module(f"nerfkit.recipes.{name}").run
    return run


def steps_of(config: DictConfig) -> int:
    """How many steps to do: ``recipe.steps`` times ``budget``, at least one."""
    return max(1, round(config.recipe.steps * config.budget))
