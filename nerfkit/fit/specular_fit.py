"""Highlights fitted to the training photos, on a mesh whose shape and texture are known."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.fit import saved
from nerfkit.fit.adam import Adam
from nerfkit.fit.bad_rays import NAMED, in_words
from nerfkit.fit.evaluate import EXACT
from nerfkit.fit.loop import Callback, Progress, optimize
from nerfkit.fit.metrics import psnr
from nerfkit.fit.refine_measure import picture
from nerfkit.fit.refine_options import RefineOptions
from nerfkit.fit.refine_window import Windows
from nerfkit.fit.specular import Specular, surface_points
from nerfkit.fit.texels import Ties, fill_unseen, texel_looks
from nerfkit.mesh.mesh import Mesh, vertex_normals
from nerfkit.raster import rasterize, sample_texture
from nerfkit.runs.fingerprint import of_state
from nerfkit.runs.folder import Run
from nerfkit.runs.ranks import ALONE, Ranks
from nerfkit.scenes.scene import Scene

HELD_OUT = 8  # every so manieth training view decides whether the highlights stay, and is not fitted
PIXELS = 2_000_000  # at most, of all views together
BATCH = 16384
RATE = 0.02
KIND = "specular"  # of the checkpoints, and the title of the curves
LAMPS = ("direction", "sharpness", "color")
FELT = ("texture_smoothness", "specular_steps", "specular_lobes")  # options that the steps depend on
SHARPEST, SOFTEST = 400.0, 2.0  # a lobe of 3 degrees; one that is hardly a highlight


def fit_specular(
    mesh: Mesh,
    scene: Scene,
    options: RefineOptions,
    run: Run | None = None,
    seed: int = 0,
    looks: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Specular | None, dict[str, Any]]:
    """Highlights that explain what the texture leaves, where they do so on training views that the fit did not see.

    Diffuse texture, strength and lobes are learned together with Adam from the absolute error of single pixels within
    the outline; the shape stays. The texture has seen the held-out training views, which favors doing without. The
    diffuse texture is tied and filled as that of the refinement (``nerfkit.fit.texels``).

    Args:
        mesh: refined, with UVs and a texture.
        options: ``texture_smoothness``, ``specular_steps``, ``specular_lobes``; ``specular_gain``: the dB that they
            must gain; ``checkpoint_every``.
        run: where curves and checkpoints go, and where a fit that was stopped goes on; None shows the progress bar
            alone.
        looks: ``texel_looks`` of the mesh, where they are known.
        ranks: the processes that render what decides; the fit itself is one's.

    Returns:
        the highlights, None where they did not help; and what to note of them in metrics.json.
    """
    held = scene.train[HELD_OUT // 2 :: HELD_OUT]
    fitted = [view for view in scene.train if view not in held]
    if not held or not fitted:
        return None, {"kept": False}
    looks = texel_looks(mesh, scene, ranks) if looks is None else looks
    fit = _Fit(mesh, scene, fitted, options, looks, seed)
    progress, calls = Progress(), []
    if run is not None:
        given = {key: getattr(mesh, key) for key in ("vertices", "faces", "corner_uvs", "texture")}
        felt = [getattr(options, key) for key in FELT]
        identity = of_state([given, looks, felt, seed, *saved.told_apart(scene)])
        progress = saved.resumed(run, KIND, identity, fit.load_state_dict, mesh.vertices.device)

        def save(_: int) -> None:
            saved.save(run, KIND, identity, progress, fit.state_dict())

        run.forget((f"{KIND}/",), progress.step)
        calls.append(Callback(save, seconds=options.checkpoint_every, first=False, stopped=True))
    optimize(
        KIND,
        fit.step,
        steps=options.specular_steps,
        run=run,
        log_every=options.log_every,
        callbacks=calls,
        progress=progress,
        blame=fit.blame,
    )
    specular = fit.specular()
    filled = fill_unseen(replace(mesh, texture=specular.diffuse), looks > 0).texture
    assert filled is not None
    specular = replace(specular, diffuse=filled)
    gain = sum(ranks.spread(_gain, held, mesh, specular, scene)) / len(held)
    kept = gain >= options.specular_gain
    facts = {"kept": kept, "gain_on_held_out_training_views": round(gain, 4), "lobes": len(specular.color)}
    return specular if kept else None, facts


def _gain(view: int, mesh: Mesh, specular: Specular, scene: Scene) -> float:
    """What the highlights add to the PSNR of a view, in dB; a view that is met to the last bit counts as ``EXACT``."""
    true, known = scene.image(view), scene.images.known(view)
    plain, shiny = (picture(mesh, scene, view, lit)[0] for lit in (None, specular))
    shown = (torch.where(known[..., None], predicted, true) for predicted in (shiny, plain))
    gained, before = (min(psnr(predicted, true, known.float()), EXACT) for predicted in shown)
    return gained - before


class _Fit:
    """The parameters on their way: a texture, the logarithms of strengths, sharpnesses and colors, directions."""

    def __init__(
        self, mesh: Mesh, scene: Scene, views: list[int], options: RefineOptions, looks: Tensor, seed: int
    ) -> None:
        assert mesh.texture is not None and mesh.corner_uvs is not None
        lobes, self.smoothness = options.specular_lobes, options.texture_smoothness
        self.ties = Ties(mesh.corner_uvs, looks) if self.smoothness else None
        self.generator = torch.Generator().manual_seed(seed)
        uv, mirrored, rgb, place = _pixels(mesh, scene, views, self.generator)
        order = _shuffled(uv, mesh.texture.shape[0], self.generator)  # once: a step takes what comes next
        self.uv, self.mirrored, self.rgb = uv[order], mirrored[order], rgb[order]  # (P, 2), (P, 3), (P, 3)
        self.scene, self.place, self.batch = scene, place[order], slice(0)
        self.next = 0
        size, device = max(16, max(mesh.texture.shape[:2]) // 4), mesh.texture.device
        self.diffuse = mesh.texture.clone().requires_grad_()
        self.strength = torch.full((size, size), -2.0, device=device).requires_grad_()
        self.direction = _spiral(lobes).to(device).requires_grad_()
        self.sharpness = torch.full((lobes,), math.log(20.0), device=device).requires_grad_()
        self.color = torch.full((lobes, 3), -2.0, device=device).requires_grad_()
        self.learned = {name: getattr(self, name) for name in ("diffuse", "strength", *LAMPS)}
        maps = {"params": [self.diffuse, self.strength], "scale": 0.25}
        lamps = {"params": [getattr(self, name) for name in LAMPS], "scale": 1.0}
        self.optimizer = Adam([maps, lamps], lr=RATE, betas=(0.9, 0.99))

    def specular(self) -> Specular:
        """The highlights as they are now."""
        with torch.no_grad():
            return self._specular()

    def step(self, share: float) -> dict[str, float]:
        """One step; returns the terms of the loss. Nothing moves where one is NaN or infinite."""
        count, self.batch = len(self.uv), self._batch()
        terms = {"image": self._errors(self.batch).mean()}
        if self.ties is not None:
            terms["texture"] = self.smoothness * self.ties(self.diffuse) / count
        values = {name: term.item() for name, term in terms.items()}
        if not math.isfinite(sum(values.values())):
            return values
        self.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * group["scale"] * 0.05**share
        self.optimizer.step()
        with torch.no_grad():
            self.diffuse.clamp_(0, 1)
            self.sharpness.clamp_(math.log(SOFTEST), math.log(SHARPEST))
        return values

    @torch.no_grad()
    def blame(self) -> str:
        """The pixels of the last step whose error is not finite, in words."""
        bad = (~self._errors(self.batch).isfinite().all(-1)).nonzero()[:NAMED, 0]
        return in_words(self.scene, [(view, x, y) for view, x, y in self.place[self.batch][bad].tolist()])

    def _errors(self, chosen: slice) -> Tensor:
        """Absolute errors (B,3) of the chosen pixels."""
        specular, uv = self._specular(), self.uv[chosen]
        shown = sample_texture(specular.diffuse, uv) + specular.light(uv, self.mirrored[chosen])
        return (shown - self.rgb[chosen].float() / 255).abs()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but what is made of the mesh and the photos."""
        return {
            "learned": {name: value.detach() for name, value in self.learned.items()},
            "optimizer": self.optimizer.state_dict(),
            "next": self.next,
            "generator": self.generator.get_state(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state of the same mesh and photos."""
        for name, value in self.learned.items():
            value.copy_(state["learned"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.next = state["next"]
        self.generator.set_state(state["generator"].cpu())

    def _batch(self) -> slice:
        """The next pixels; after the last whole batch begins another round, a part of one further on."""
        if self.next + BATCH > len(self.uv):
            spare = min(max(len(self.uv) - BATCH, 0), BATCH)
            self.next = int(torch.randint(spare + 1, (), generator=self.generator))
        first, self.next = self.next, self.next + BATCH
        return slice(first, self.next)

    def _specular(self) -> Specular:
        strength, color = self.strength.exp(), self.color.exp()
        return Specular(self.diffuse, strength, normalize(self.direction, dim=-1), self.sharpness.exp(), color)


@torch.no_grad()
def _pixels(mesh: Mesh, scene: Scene, views: list[int], generator: torch.Generator) -> tuple[Tensor, ...]:
    """UVs (P,2), mirrored directions (P,3), colors (P,3) uint8, and view, x and y (P,3) int16 of pixels that mask and
    mesh cover whole."""
    found: list[tuple[Tensor, ...]] = []
    windows = Windows(replace(scene, has_masks=False))  # where the mesh is: nothing else counts
    normals = vertex_normals(mesh.vertices, mesh.faces)
    for view in views:
        window = windows.around(mesh.vertices, [view])
        camera = window.cameras(scene.cameras[[view]])
        fragments = rasterize(mesh.vertices, mesh.faces, camera)
        uv, mirrored = surface_points(mesh, fragments, camera, normals)
        photo = window.cut([scene.images[view]])[0].to(uv.device)
        known = window.cut([scene.images.known(view)])[0].to(uv.device)
        inside = _without_outline(fragments.covered[0]) & (photo[..., 3] == 255) & known
        keep = inside[fragments.covered[0]]
        chosen = torch.rand(len(keep), generator=generator) < PIXELS / len(views) / max(int(keep.sum()), 1)
        keep &= chosen.to(keep.device)
        row, column = fragments.covered[0].nonzero()[keep].short().unbind(1)
        place = torch.stack([torch.full_like(row, view), column + window.left[0], row + window.top[0]], 1)
        found.append((uv[keep], mirrored[keep], photo[..., :3][fragments.covered[0]][keep], place))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _shuffled(uv: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Numbers (P,) of pixels in a random order, but for each ``BATCH`` of them by the ``rows`` of texels they look at.

    So look-ups, and their gradients, walk through a texture instead of jumping about in it.
    """
    order = torch.randperm(len(uv), generator=generator).to(uv.device)
    batch = torch.arange(len(uv), device=uv.device) // BATCH
    row = ((1 - uv[order, 1]) * rows).long().clamp(0, rows - 1)
    return order[(batch * rows + row).argsort(stable=True)]


def _without_outline(covered: Tensor) -> Tensor:
    """The pixels (H,W) whose eight neighbors are covered, too; what is beyond the picture does not count."""
    inside = covered
    for axis in range(2):
        outer, inner = inside.movedim(axis, 0), inside.clone().movedim(axis, 0)
        inner[1:] &= outer[:-1]
        inner[:-1] &= outer[1:]
        inside = inner.movedim(0, axis)
    return inside


def _spiral(count: int) -> Tensor:
    """Directions (count,3) all around, a Fibonacci spiral."""
    height = 1 - (2 * torch.arange(count) + 1) / count
    angle = torch.arange(count) * math.pi * (3 - math.sqrt(5))
    ring = (1 - height.square()).sqrt()
    return torch.stack([ring * angle.cos(), height, ring * angle.sin()], -1)
