"""The capture doctor: from what was measured of each photo to sentences on what to drop, and what to take anew."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nerfkit.prepare.coverage import NEAR, Coverage, listed
from nerfkit.prepare.intake import Shot, order
from nerfkit.prepare.measures import beside

DULL = 0.4  # of the neighbors' sharpness: it is blurred, or what it shows is plain
SOFT = 0.55  # of the neighbors' crispness: it is blurred; what is plain keeps its own
JUMP = 1.0  # stops
FEW_MATCHES = 60  # in all: about what the mappers need at the least to place a photo, twice
GAP = 45.0  # degrees of azimuth: SIFT finds little across more than 30
LEVEL = 12.0  # degrees: all cameras within so much of one elevation
MANY_PARTNERS = 8  # named in the report; report.json has all


@dataclass
class Facts:
    """What is known of one photo.

    Attributes:
        name, source: in ``images/``, and where it came from.
        model: which of the models places it, 0 the one that is kept; None if none does.
        sharpness, crispness: over its neighbors' (by time or name), 1 as sharp as they; NaN without neighbors.
        exposure: stops brighter than its neighbors; NaN without neighbors.
        partners: {name of another photo: verified matches}, the most first.
        error: mean reprojection error in pixels; NaN where it is not placed in the model that is kept.
    """

    name: str
    source: str
    model: int | None
    sharpness: float
    crispness: float
    exposure: float
    partners: dict[str, int] = field(default_factory=dict)
    error: float = math.nan

    @property
    def placed(self) -> bool:
        """Whether the model that is kept has its pose."""
        return self.model == 0

    @property
    def blurred(self) -> bool:
        """Whether it is blurred, and not just of something plain."""
        return self.sharpness < DULL and self.crispness < SOFT

    @property
    def matches(self) -> int:
        """Verified matches with all other photos together."""
        return sum(self.partners.values())


class Fault(NamedTuple):
    """Why a photo had better be dropped or taken again, as half a sentence."""

    name: str
    why: str


def facts_of(
    shots: Sequence[Shot],
    models: Sequence[Sequence[str]],
    partners: Mapping[str, dict[str, int]],
    errors: Mapping[str, float],
) -> list[Facts]:
    """Facts of all photos, in their order by time or name; ``models`` names the photos of each model."""
    shots = order(shots)
    sharp = beside([shot.sharpness for shot in shots])
    crisp = beside([shot.crispness for shot in shots])
    bright = beside([shot.brightness for shot in shots])
    model_of = {name: number for number, names in reversed(list(enumerate(models))) for name in names}
    return [
        Facts(
            shot.name,
            shot.source,
            model_of.get(shot.name),
            shot.sharpness / near if near > 0 else math.nan,
            shot.crispness / fine if fine > 0 else math.nan,
            shot.brightness - light,
            dict(partners.get(shot.name, {})),
            errors.get(shot.name, math.nan),
        )
        for shot, near, fine, light in zip(shots, sharp, crisp, bright, strict=True)
    ]


def faults(facts: Sequence[Facts]) -> list[Fault]:
    """The photos that had better be dropped, with the reason; a photo that is not placed is dropped already."""
    errors = [fact.error for fact in facts if math.isfinite(fact.error)]
    usual = float(np.median(errors)) if errors else math.nan
    found = []
    for fact in facts:
        if fact.placed and fact.blurred:
            found.append(Fault(fact.name, f"blurred: its sharpness is {fact.sharpness:.0%} of its neighbors'"))
        elif fact.placed and fact.error > max(2 * usual, 1.5):
            why = f"its pose is doubtful: {fact.error:.1f} px of reprojection error, {usual:.1f} px is usual here"
            found.append(Fault(fact.name, why))
        elif fact.placed and fact.matches < FEW_MATCHES:
            found.append(Fault(fact.name, f"its pose hangs on {fact.matches} matches"))
    return found


def advice(facts: Sequence[Facts], seen: Coverage | None) -> list[str]:
    """Plain sentences: which photos to drop and why, where photos are missing, what to do when few are placed."""
    return [
        *_drop(facts, seen),
        *_unplaced(facts),
        *_parts(facts),
        *_exposure(facts),
        *(_missing(seen) if seen else []),
    ]


def nothing_placed(facts: Sequence[Facts]) -> str:
    """Why no photo could be placed: what the matches say, and what to do."""
    alone = sum(not fact.partners for fact in facts)
    if alone == len(facts):
        why = "No two photos show the same things"
    else:
        strongest = max((count for fact in facts for count in fact.partners.values()), default=0)
        why = f"{alone} of {len(facts)} photos share nothing with others, and the best pair has {strongest} matches"
    return (
        f"{why}. Neighboring photos should overlap by two thirds, be taken from different places, not by turning on "
        "the spot, and show texture: a plain or shiny object needs a patterned cloth below it"
    )


def _drop(facts: Sequence[Facts], seen: Coverage | None) -> list[str]:
    """What to do with the photos at fault: one that looks from where no other does is better than none."""
    return [
        f"Take {fault.name} again, and do not drop it before: no other photo is near. It is at fault: {fault.why}."
        if seen is not None and seen.nearest(fault.name) > NEAR
        else f"Drop {fault.name}, or take it again: {fault.why}."
        for fault in faults(facts)
    ]


def _unplaced(facts: Sequence[Facts]) -> list[str]:
    """What became of the photos of no model."""
    sentences = []
    lost = [fact for fact in facts if fact.model is None]
    alone = [fact.name for fact in lost if not fact.partners]
    if alone:
        share, are = ("shares", "is") if len(alone) == 1 else ("share", "are")
        sentences.append(
            f"{listed(alone)} {share} nothing with the other photos and {are} not placed: blurred, without "
            "texture, or of something else."
        )
    for fact in [fact for fact in lost if fact.partners][:MANY_PARTNERS]:
        best, count = next(iter(fact.partners.items()))
        sentence = (
            f"{fact.name} is not placed: most matches, {count}, with {best}; photos between the two would join it."
        )
        if fact.blurred:
            sentence += f" It is blurred: its sharpness is {fact.sharpness:.0%} of its neighbors'."
        sentences.append(sentence)
    placed = sum(fact.placed for fact in facts)
    if placed < 0.8 * len(facts):
        sentences.append(
            f"Only {placed} of {len(facts)} photos are placed. Take more with small steps between them, two thirds of "
            "each photo in the next; do not zoom; move, do not turn on the spot; put a patterned cloth under a plain "
            "object."
        )
    return sentences


def _parts(facts: Sequence[Facts]) -> list[str]:
    """Which photos form models of their own."""
    parts: dict[int, list[str]] = {}
    for fact in facts:
        if fact.model is not None:
            parts.setdefault(fact.model, []).append(fact.name)
    if len(parts) < 2:
        return []
    others = "; ".join(f"{len(names)} photos ({listed(names)})" for number, names in sorted(parts.items()) if number)
    return [
        f"The photos fall into {len(parts)} parts that do not see each other. The largest, {len(parts[0])} photos "
        f"({listed(parts[0])}), is kept; left out: {others}. If they show two places, prepare each from a folder of "
        "its own; if one, take photos that lead from one part to the other."
    ]


def _exposure(facts: Sequence[Facts]) -> list[str]:
    jumps = [f"{fact.name} ({fact.exposure:+.1f} stops)" for fact in facts if abs(fact.exposure) > JUMP]
    if not jumps:
        return []
    return [f"Brightness jumps at {listed(jumps)}: lock exposure and white balance, and do not use a flash."]


def _missing(seen: Coverage) -> list[str]:
    """Where photos are missing."""
    sentences = []
    first, last = seen.gap_between
    if seen.gap_width > GAP and seen.inward:
        start, end = round(seen.gap[0]), round(seen.gap[1]) % 360
        sentences.append(
            f"No photo from azimuth {start} to {end} degrees, a gap of {seen.gap_width:.0f} degrees between {first} "
            f"and {last}: what faces there will be guessed. Take one every 10 degrees or so."
        )
    heights = [elevation for _, elevation in seen.angles.values()]
    if seen.inward and seen.gap_width < 180 and max(heights) - min(heights) < LEVEL:
        sentences.append(
            f"All photos are from one height ({min(heights):.0f} to {max(heights):.0f} degrees of elevation): a second "
            "round from higher up shows the top."
        )
    if not seen.inward:
        sentences.append(
            "The cameras look in different directions and not at one thing: an object needs photos from around it."
        )
    return sentences
