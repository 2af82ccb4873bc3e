"""Slices drawn: arrays become small PNG or WebP pictures inside inline SVG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from nnunet_nacl.report.prepare_slices import CaseSlice, SliceOfRun

# Okabe and Ito's colours that can be told apart with any colour vision, without black; then the same lighter and darker
OKABE_ITO = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#bbbbbb")
LIGHTER, DARKER = (255, 0.55), (0, 0.45)
IGNORED_COLOR = "#777777"
OVERCONFIDENT = (240, 135, 50)
UNDERCONFIDENT = (150, 120, 240)
# bright where the network is sure
CONFIDENCE_MAP = "magma"
OVERLAY = 0.55
ERROR_STOPS = (f"rgb{UNDERCONFIDENT}", "rgb(0, 0, 0)", f"rgb{OVERCONFIDENT}")
MAX_SIDE = 320
"""Larger slices are made smaller: nobody sees more on a page, and every reader loads it."""
PNG_UP_TO = 128 * 128
WEBP_QUALITY = 85

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """A picture and what stands below it; ``shared`` where it is the same for every run."""

    caption: str
    picture: Markup
    shared: bool = False


def class_color(label: int) -> str:
    """Return the colour of a foreground class; they repeat after 24."""
    shade, place = divmod((label - 1) % (3 * len(OKABE_ITO)), len(OKABE_ITO))
    color = OKABE_ITO[place]
    if not shade:
        return color
    towards, share = (LIGHTER, DARKER)[shade - 1]
    mixed = (round((1 - share) * part + share * towards) for part in _rgb(color))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def confidence_stops(number: int = 5) -> list[str]:
    """Return evenly spaced colours of the confidence scale."""
    colors = (255 * colormaps[CONFIDENCE_MAP](np.linspace(0, 1, number))[:, :3]).round().astype(int)
    return [f"rgb({red}, {green}, {blue})" for red, green, blue in colors]


def shared_panels(shown: CaseSlice) -> list[Panel]:
    """Return the panels that do not depend on the run: image, where there is one, and label."""
    gray = _gray(shown)
    panels = [] if shown.image is None else [Panel("image", _panel(gray, shown, "image"), shared=True)]
    overlay = _overlaid(gray, shown.labels * ~shown.ignored, _opacity(shown))
    overlay[shown.ignored] = _rgb(IGNORED_COLOR)
    return [*panels, Panel("label", _panel(overlay, shown, "label"), shared=True)]


def run_panels(shown: CaseSlice, said: SliceOfRun, num_classes: int) -> list[Panel]:
    """Return the panels of a run: prediction, confidence and error, the last two with the outline of the label."""
    outline = _outline(shown.labels * ~shown.ignored)
    confidence = _in_colors((said.confidence - 1 / num_classes) / (1 - 1 / num_classes))
    return [
        _prediction(shown, said),
        Panel("confidence", _panel(confidence, shown, "confidence", outline)),
        Panel("error", _panel(_error(shown, said), shown, "confidence minus outcome", outline)),
    ]


def probability_panels(shown: CaseSlice, said: SliceOfRun) -> list[Panel]:
    """Return prediction, and the probability of one class (``said.confidence``) from 0 to 1 with the outline of the label."""
    outline = _outline(shown.labels * ~shown.ignored)
    return [
        _prediction(shown, said),
        Panel("probability", _panel(_in_colors(said.confidence), shown, "probability", outline)),
    ]


def _prediction(shown: CaseSlice, said: SliceOfRun) -> Panel:
    return Panel("prediction", _panel(_overlaid(_gray(shown), said.classes, _opacity(shown)), shown, "prediction"))


def _in_colors(values: NDArray[np.floating[Any]]) -> Rgb:
    colored: Rgb = (255 * colormaps[CONFIDENCE_MAP](np.clip(values, 0, 1))[..., :3]).round().astype(np.uint8)
    return colored


def _gray(shown: CaseSlice) -> Rgb:
    gray = np.zeros(shown.labels.shape) if shown.image is None else shown.image
    return np.repeat((255 * gray).round().astype(np.uint8)[..., None], 3, -1)


def _opacity(shown: CaseSlice) -> float:
    """Return how much of an image the classes hide; there is nothing to be seen through them without one."""
    return 1.0 if shown.image is None else OVERLAY


def _overlaid(gray: Rgb, classes: NDArray[np.integer[Any]], opacity: float) -> Rgb:
    colored = gray.astype(np.float64)
    for label in np.unique(classes[classes > 0]):
        where = classes == label
        colored[where] = (1 - opacity) * colored[where] + opacity * np.array(_rgb(class_color(int(label))))
    return colored.round().astype(np.uint8)


def _error(shown: CaseSlice, said: SliceOfRun) -> Rgb:
    """Return confidence minus outcome: orange where wrong, as bright as the confidence; violet where right but unsure."""
    difference = np.where(shown.ignored, 0, said.confidence - (said.classes == shown.labels))
    over, under = np.clip(difference, 0, 1)[..., None], np.clip(-difference, 0, 1)[..., None]
    colored: NDArray[np.float64] = over * np.array(OVERCONFIDENT) + under * np.array(UNDERCONFIDENT)
    return colored.round().astype(np.uint8)


def _outline(classes: NDArray[np.integer[Any]]) -> str:
    """Return the edges between pixels of different classes as an SVG path in pixels."""
    rows, columns = np.nonzero(classes[:, 1:] != classes[:, :-1])
    upright = "".join(f"M{column + 1} {row}v1" for row, column in zip(rows, columns, strict=True))
    rows, columns = np.nonzero(classes[1:] != classes[:-1])
    return upright + "".join(f"M{column} {row + 1}h1" for row, column in zip(rows, columns, strict=True))


def _panel(pixels: Rgb, shown: CaseSlice, name: str, outline: str = "") -> Markup:
    height, width = pixels.shape[:2]
    tall, wide = shown.extent
    # one unit is one voxel; the outer box has the proportions in mm
    return Markup(
        '<svg class="slice" viewBox="0 0 {wide:.1f} {tall:.1f}" role="img" aria-label="{name} of {case}">'
        '<svg viewBox="0 0 {width} {height}" width="{wide:.1f}" height="{tall:.1f}" preserveAspectRatio="none">'
        '<image href="{data}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        '<path class="casing" d="{outline}"/><path class="outline" d="{outline}"/></svg></svg>'
    ).format(
        wide=wide,
        tall=tall,
        width=width,
        height=height,
        name=name,
        case=shown.case,
        data=_data(pixels),
        outline=outline,
    )


def _data(pixels: Rgb) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    kind = "png" if picture.width * picture.height <= PNG_UP_TO else "webp"
    buffer = io.BytesIO()
    if kind == "png":
        picture.save(buffer, "png", optimize=True)
    else:
        picture.save(buffer, "webp", quality=WEBP_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
