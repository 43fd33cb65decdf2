"""A held-out view of a model in training, for TensorBoard."""

from nerfkit.fit.evaluate import view_psnr
from nerfkit.runs.folder import Run
from nerfkit.scenes.scene import Scene
from nerfkit.volume.model import RadianceModel


def preview_field(model: RadianceModel, scene: Scene, run: Run, step: int, seconds: float) -> float:
    """The first test view: picture, truth, error, depth, normals; its PSNR by step and by second of training, and
    returned."""
    view = (scene.test or scene.train)[0]
    image = model.render_view(scene.cameras, view, normals=True)
    true = scene.image(view)
    predicted = image.over(scene.background).cpu()
    value = view_psnr(predicted, scene, view)
    run.scalar("held_out/psnr", value, step)
    run.scalar_by_second("held_out/psnr", value, seconds)
    run.image("held_out/predicted", predicted, step)
    run.image("held_out/true", true, step)
    run.image("held_out/error", (predicted - true).abs(), step)
    alpha = image.alpha.cpu()
    depth = image.depth.cpu() / alpha.clamp_min(1e-6)
    near, far = (depth[alpha > 0.5] if (alpha > 0.5).any() else depth).aminmax()
    shown = ((far - depth) / (far - near).clamp_min(1e-6)).clamp(0, 1) * alpha
    run.image("held_out/depth", shown[..., None].expand(-1, -1, 3), step)
    run.image("held_out/normals", image.normal.cpu() * 0.5 + 0.5, step)
    return value
