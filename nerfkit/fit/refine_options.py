"""The options of the mesh stage."""

from dataclasses import dataclass
from typing import ClassVar

from nerfkit.schema import Options, option


@dataclass
class RefineOptions(Options):
    """The coarse mesh, refined against the training views; ends at the bound that is reached first."""

    group: ClassVar[str] = "refine"

    steps: int = option(1500, "of both phases; to refine nothing, leave refine out of stages", least=1)
    max_seconds: float | None = option(
        None, "of them; where they end it, the result depends on the machine; the highlights come on top", above=0
    )
    views_per_step: int = option(2, "training views that a step looks at", least=1)
    geometry: float = option(
        0.1, "share of the budget for vertices and vertex colors, before the texture; 0: none", least=0, most=1
    )
    remesh: int = option(1, "times that this first phase moves its faces to where the surface bends", least=0)
    faces: int = option(0, "after remeshing, at least 4; 0: as many as the coarse mesh has", least=0)
    vertex_rate: float = option(
        0.024, "length of a step at the start, in normalized units (the object is about 1.9 wide)", least=0
    )
    texture_rate: float = option(0.02, "of the colors' Adam at the start", least=0)
    final_rate: float = option(0.05, "share of both rates that is left at the end", above=0)
    smoothness: float = option(
        1.0, "of the vertices' steps, in mesh edges squared; higher moves larger patches together", least=0
    )
    texture: int | None = option(
        None, "height and width of the texture; null: as fine as the photos' pixels on the surface", least=1
    )
    texture_smoothness: float = option(
        0.5, "pull of each neighbor on a texel that few pixels of the photos look at, in pixels; 0: none", least=0
    )
    mask_weight: float = option(1.0, "of the silhouette", least=0)
    depth_weight: float = option(
        0.0, "of the field's depth, but for its median in each view, in mean edges; 0: not asked for", least=0
    )
    normal_weight: float = option(0.05, "of neighboring faces alike", least=0)
    laplacian_weight: float = option(0.01, "of vertices at the mean of their neighbors", least=0)
    edge_weight: float = option(0.005, "of edges as long as their mean at the start", least=0)
    log_every: int = option(20, "steps", least=1)
    checkpoint_every: float = option(
        60.0, "seconds, of the highlights, too; none of what a timelapse is to see all of", least=0
    )
    preview_every: float = option(0.2, "of the budget: a held-out view to TensorBoard", above=0)
    specular: bool = option(True, "try highlights beside the texture (mesh/specular.npz), and keep them if they gain")
    specular_gain: float = option(0.1, "dB on training views held out for that")
    specular_steps: int = option(600, "of the highlights' fit", least=1)
    specular_lobes: int = option(16, "distant lamps", least=1)

    @property
    def rates(self) -> str:
        """The words for what to lower where a refinement diverges."""
        return "refine.vertex_rate or refine.texture_rate" if self.vertex_rate else "refine.texture_rate"

    def check(self) -> None:
        super().check()
        self.expect("faces", self.faces == 0 or self.faces >= 4, "at least 4, or 0 for those of the coarse mesh")
