"""Named experiments with meshes, each a short fit of its own: what ``experiment=NAME`` runs in place of the stages.

A recipe is a module of this package with a class of options and the function that runs them::

    @dataclass
    class SpinOptions(RecipeOptions):
        name: str = "spin"
        steps: int = steps_option(100)

    @recipe(SpinOptions)
    def run(o: SpinOptions, config: TrainOptions, record: Run, device: torch.device) -> None: ...

It writes its curves, pictures, meshes and figures into the run folder and returns nothing. ``config.budget`` is the
share of its steps to do. conf/experiment/spin.yaml chooses it: ``defaults: [override /recipe: spin]``.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from nerfkit.schema import Options, Registry, option

RECIPES = Registry("recipe")
"""Name of a recipe -> its options, which ``run`` it; filled by ``load``."""


class RecipeOptions(Options):
    """Base of the recipes' options."""

    name: str

    def run(self, config: Any, record: Any, device: Any) -> None:
        """Runs the recipe: ``config`` is the ``TrainOptions`` that these stand in, ``record`` the ``Run``."""
        raise NotImplementedError


def recipe(made: type[RecipeOptions]) -> Callable[[Callable], Callable]:
    """Registers a recipe's options; the decorated function becomes their ``run``."""

    def bind(function: Callable) -> Callable:
        made.run = function  # type: ignore[method-assign]
        RECIPES.register(made)
        return function

    return bind


def load() -> Registry:
    """Imports every module of this package, which takes seconds, and returns the recipes."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return RECIPES


def steps_option(default: int) -> Any:
    """The option that every fit has."""
    return option(default, "of the optimizer; budget scales them", least=1, most=10**8)


def subdivisions_option(default: Any) -> Any:
    """How fine the sphere is that a fit starts from."""
    return option(default, "of an icosahedron's faces in four: 4 makes 5120 faces", least=0, most=8)


def mesh_option(there: str) -> Any:
    """The mesh that a recipe aims at."""
    return option(None, f"OBJ, GLB or PLY; null: the project's own clock (there: {there})", path=True)


def weight(default: float, meaning: str) -> Any:
    """Of a term of the loss."""
    return option(default, meaning, least=0)
