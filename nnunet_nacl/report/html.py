"""The report as one HTML file that holds everything it shows and is allowed to load nothing.

A Content-Security-Policy names the hashes of our own style and script, so that even markup which slipped through Jinja's
escaping could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nnunet_nacl import __version__
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.provenance import today
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.page_content import Page
from nnunet_nacl.report.prepare_reliability import BAND_MIN_VOXELS


def render(page: Page) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("nnunet_nacl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["fixed"] = fixed
    environment.filters["coded"] = coded
    style, script = _read("style.css"), _read("table.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("report.html.j2").render(
        page=page,
        policy=policy,
        # our own files, and neither holds a closing tag
        style=Markup(style),
        script=Markup(script),
        version=__version__,
        created=today().isoformat(),
        band_min_voxels=BAND_MIN_VOXELS,
    )


def breakable(name: str) -> Markup:
    """Return a name that may be broken at an underscore or between the words of a trainer's name."""
    return Markup("<wbr>").join(re.split(r"(?=_)|(?<=Trainer)(?=[A-Z])", name))


def coded(text: str) -> Markup:
    """Return a text of which what stands between backticks is set as code; an odd one out stays as it is."""
    pieces = re.split(r"`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else piece for place, piece in enumerate(pieces)
    )


def write_report(page: Page, path: Path) -> None:
    """Write the page.

    Raises:
        InputError: it cannot be written.
    """
    text = render(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Choose another file with -o.") from error


def _read(name: str) -> str:
    return resources.files("nnunet_nacl.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
