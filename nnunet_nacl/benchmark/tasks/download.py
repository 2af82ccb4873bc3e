"""Getting the archive of a task: downloading with pooch, continuing what was interrupted, checking, unpacking.

Pooch checks the hash and moves a finished file into place, but starts an interrupted download from the beginning. The
archives have up to 27 GB, so the downloader that pooch is given here keeps what has arrived in ``<archive>.part`` and asks the
server for the rest (RFC 9110, section 14: a range request, answered by 206, or by 200 where the server does not do ranges).
"""

from __future__ import annotations

import platform
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes; what has come of a chunk that is broken off is asked for again
TIMEOUT = (30, 60)  # seconds to connect, and without a byte
ATTEMPTS = 3

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes of all (None where the server does not say)."""


def fetch_archive(
    archive: str, md5: str, folder: Path, mirrors: Sequence[str], progress: Progress = lambda done, of: None
) -> Path:
    """Return the path of an archive, downloading it into a folder unless it is there with the right checksum.

    Args:
        archive: file name.
        md5: its checksum, 32 hexadecimal digits.
        folder: where it is kept; made if missing.
        mirrors: URLs of folders, tried in this order.
        progress: called while bytes arrive.

    Raises:
        InputError: no mirror gives the archive with that checksum; the message says why, mirror by mirror. What has
            arrived of an interrupted download stays in ``<archive>.part`` and is continued next time.
    """
    pooch = _pooch()
    part = folder / f"{archive}.part"
    reasons = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{archive}"
        continued = part.is_file()
        try:
            try:
                return Path(pooch.retrieve(url, f"md5:{md5}", archive, folder, downloader=_Continuing(part, progress)))
            except ValueError:  # a wrong checksum; the fault may lie in what was there before
                if not continued:
                    raise
                return Path(pooch.retrieve(url, f"md5:{md5}", archive, folder, downloader=_Continuing(part, progress)))
        except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
            reasons.append(f"{mirror}: {_one_line(error)}")
    raise InputError(
        f"{archive} cannot be downloaded ({'; '.join(reasons)}). Run the command again to go on with what has arrived, "
        f"name another mirror, or pass an archive or folder that you have with --from."
    )


class _Continuing:
    """A pooch downloader that goes on where an earlier one stopped, in a file that survives interruptions."""

    def __init__(self, part: Path, progress: Progress) -> None:
        self.part = part
        self.progress = progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._append(url)
                break
            except requests.HTTPError:  # the server is there and says no: asking again is no use
                raise
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == ATTEMPTS:
                    raise
        # pooch compares the checksum of this file and deletes it where that differs, so a wrong part is not kept
        self.part.replace(output_file)

    def _append(self, url: str) -> None:
        import requests

        there = self.part.stat().st_size if self.part.is_file() else 0
        # identity: a compressed answer has other byte positions
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if there and answer.status_code == requests.codes.requested_range_not_satisfiable:
                return  # nothing is left to send; the checksum tells whether that is so
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                there = 0
            self._write(answer, there)

    def _write(self, answer: Response, there: int) -> None:
        length = answer.headers.get("Content-Length")
        total = None if length is None else there + int(length)
        with self.part.open("ab" if there else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                there += len(chunk)
                self.progress(there, total)


def unpack_task(archive: Path, task: str, folder: Path) -> Path:
    """Unpack a task's archive into a folder and return ``folder / task``.

    Members are checked by tarfile's ``data`` filter: nothing outside the folder, no devices, no links to elsewhere. The task's
    folder appears under its name when all is unpacked, so an interrupted call leaves no half of it under that name.

    Raises:
        InputError: no readable tar archive, an unsafe member, no folder of the task's name inside, or a Python without that filter.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"{archive}: Python {platform.python_version()} cannot unpack archives safely (3.10.12, 3.11.4 and 3.12 are the "
            f"first that can). Unpack it with tar and pass the folder {task} with --from."
        )
    target = folder / task
    with tempfile.TemporaryDirectory(prefix=f".{task}.", dir=folder) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"{archive}: cannot be unpacked ({_one_line(error)}).") from error
        unpacked = Path(temporary, task)
        if not (unpacked / "dataset.json").is_file():
            raise InputError(f"{archive}: expected {task}/dataset.json inside, but there is none.")
        unpacked.rename(target)
    return target


def archived_files(archive: Path) -> Iterator[tuple[PurePosixPath, int, Callable[[], IO[bytes]]]]:
    """Give path, size in bytes and a function that opens it, for each file in a tar archive; nothing is unpacked.

    Raises:
        OSError, EOFError: it is no readable tar archive.
    """

    def member_file(member: tarfile.TarInfo) -> IO[bytes]:
        file = tar.extractfile(member)
        assert file is not None  # a plain file
        return file

    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile():
                    yield PurePosixPath(member.name), member.size, partial(member_file, member)
    except tarfile.TarError as error:
        raise OSError(_one_line(error)) from error


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise InputError(
            f"downloading needs {error.name}, which is not installed: pip install 'nnunet-nacl[benchmark]'. Or pass an "
            f"archive or folder that you have with --from."
        ) from None
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
