"""Named experiments with meshes, each a short fit of its own: what ``experiment=NAME`` runs in place of the stages.

A recipe is a module of this package with a class of options and the function that runs them::

    @dataclass
    class SpinOptions(RecipeOptions):
        name: str = "spin"
        steps: int = steps_option(100)

    @recipe(SpinOptions, uses=("scene", "seed"))
    def run(o: SpinOptions, config: TrainOptions, record: Run, device: torch.device) -> None: ...

It writes its curves, pictures, meshes and figures into the run folder and returns nothing. ``config.budget`` is the
share of its steps to do. Of the config's other groups, and keys that are in none, it looks at those of ``uses``
alone: words that set others are refused. conf/experiment/spin.yaml chooses it: ``defaults: [override /recipe: spin]``.
"""

from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from nerfkit.errors import ConfigError
from nerfkit.schema import Options, Registry, option

RECIPES = Registry("recipe")
"""Name of a recipe -> its options, which ``run`` it; filled by ``load``."""


ALWAYS = ("budget", "output", "threads", "device", "viewer", "viewer_port")
"""Keys that every recipe looks at, or that what runs it does."""
CHOICES = ("experiment", "recipe", "preset", "resume")
"""Keys that say which recipe, what values others have, or are refused elsewhere."""
OF_PHOTOS = ("export.units", "export.cameras", "export.glb_cameras")
"""Keys that need a scene besides their own group."""


class RecipeOptions(Options):
    """Base of the recipes' options.

    Attributes:
        uses: the groups of ``TrainOptions``, and its keys that are in none, such as seed, that the recipe looks at
            besides ``ALWAYS``; None: nobody has said, and no word is refused.
    """

    uses: ClassVar[tuple[str, ...] | None] = None
    name: str

    def run(self, config: Any, record: Any, device: Any) -> None:
        """Runs the recipe: ``config`` is the ``TrainOptions`` that these stand in, ``record`` the ``Run``."""
        raise NotImplementedError

    @classmethod
    def check_used(cls, key: str, word: str | None) -> None:
        """Raises ConfigError for a word of the command whose key is not looked at."""
        if cls.uses is None:
            return
        group, name, used = key.partition(".")[0], key.rpartition(".")[2], ("recipe", *cls.uses, *ALWAYS)
        lacks = "" if group in (*CHOICES, *used) else group
        if key in OF_PHOTOS and "scene" not in used:
            lacks = f"{key}, for it has no photos"
        if lacks:
            own = {declared.name for declared in fields(cls)} - {"name"}  # type: ignore[arg-type]  # a dataclass
            near = f"; did you mean recipe.{name}?" if name in own else "."
            raise ConfigError(f"{word}: the recipe {cls.name} does not use {lacks}{near} It uses {', '.join(used)}")


def recipe(made: type[RecipeOptions], uses: tuple[str, ...] | None = None) -> Callable[[Callable], Callable]:
    """Registers a recipe's options; the decorated function becomes their ``run``, and looks at what it ``uses``."""

    def bind(function: Callable) -> Callable:
        made.run = function  # type: ignore[method-assign]
        made.uses = uses
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
