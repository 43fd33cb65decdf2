"""Which stages a command means, and whether they make what they need."""

from nerfkit.config import FINISHING, STAGES, TrainOptions
from nerfkit.errors import ConfigError


def meant(config: TrainOptions) -> list[str]:
    """The stages in their order: with a mesh of the user's without those that would make one, and where a texture is
    made with the one that writes it."""
    left_out = ("field", "extract") if config.mesh is not None else ()
    asked = {*config.stages, *(("export",) if "texture" in config.stages else ())}
    return [name for name in STAGES if name in asked and name not in left_out]


def check_stages(config: TrainOptions) -> None:
    """Whether the stages of a new run make what they need.

    Raises:
        ConfigError: they do not.
    """
    stages = config.stages
    if config.mesh is not None:
        if not {*FINISHING} & {*stages}:
            raise ConfigError(
                "mesh: add refine to stages, which fits shape and texture to the photos, or texture, which leaves its "
                "shape as it is"
            )
        if "video" in stages and config.video.source in ("field", "both"):
            raise ConfigError(f"video.source={config.video.source}: with mesh=... there is no field; expected mesh")
        return
    if "field" not in stages:
        alone = ", or a mesh to texture: mesh=FILE" if {*FINISHING} & {*stages} else ""
        raise ConfigError(
            f"stages: without the field stage there must be a run to go on with: resume=OUTPUT/SCENE/DATE_TIME{alone}"
        )
    needs = {name: name in stages for name in FINISHING}
    needs["export"] = "export" in stages and not config.export.cameras
    for name, needed in needs.items():
        if needed and "extract" not in stages:
            raise ConfigError(f"stages: {name} needs the mesh that extract makes; add extract to stages")
    source = f"video.source={config.video.source}"
    if "video" in stages and config.video.source in ("mesh", "both"):
        if not {"extract", "export"} <= {*stages}:
            raise ConfigError(f"{source}: it needs a mesh; add extract and export to stages")
        if not config.export.formats:
            raise ConfigError(f"{source}: it needs a mesh, and export.formats=null writes none; name a format")
