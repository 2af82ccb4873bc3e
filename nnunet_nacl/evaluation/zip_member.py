"""One member of a zip file as a stream: in constant memory, checked against its CRC, with the fastest inflate at hand.

``zipfile`` finds the member; its bytes are read here, since ``zipfile`` knows no inflate but zlib's. How fast each one is, is in
docs/architecture.md.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from nnunet_nacl.errors import InputError, first_line, printable

try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # no wheel for this platform: zlib reads the same files, in twice the time
    HAS_ISAL = False
    _crc32 = zlib.crc32
    _INFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
else:
    HAS_ISAL = True
    _crc32 = isal_zlib.crc32
    _INFLATE_ERRORS = (zlib.error, igzip_lib.IsalError)  # type: ignore[assignment]  # its stub takes it for an instance

PREDICT_AGAIN = "Predict this case again."

_INPUT_BYTES = 2**18
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then the lengths of the name and of the extra field, which the data follows (APPNOTE.TXT 4.3.7)."""


@dataclass(frozen=True)
class Member:
    """Where a member lies in its file. Sizes and offset in bytes."""

    path: Path
    offset: int
    stored_size: int
    size: int
    crc: int
    deflated: bool


def find_member(path: Path, key: str) -> Member:
    """Find the array ``key`` of an npz file, without reading it.

    Raises:
        InputError: no readable npz file, without such an array, or one that is encrypted or packed in another way than
            numpy does.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}). {PREDICT_AGAIN}") from error
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _find(archive, file, path, key)
        except InputError:
            raise
        except Exception as error:  # zipfile fails on damaged files in many ways: struct.error, UnicodeDecodeError, ...
            raise InputError(f"{path}: is truncated or no npz file ({first_line(error)}). {PREDICT_AGAIN}") from error


def _find(archive: zipfile.ZipFile, file: IO[bytes], path: Path, key: str) -> Member:
    names = archive.namelist()
    if f"{key}.npy" not in names:
        held = ", ".join(printable(name.removesuffix(".npy")) for name in names[:5]) or "nothing"
        raise InputError(f"{path}: expected an array `{key}`, but the file holds {held}. {PREDICT_AGAIN}")
    info = archive.getinfo(f"{key}.npy")
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{path}: expected a plain npz file, but got an encrypted one. Save it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{path}: expected a stored or deflated array, as numpy saves it, but got method {info.compress_type} "
            f"({_METHODS.get(info.compress_type, 'unknown')}). Save it with `np.savez_compressed`."
        )
    archive.open(info).close()  # holds the local header against the directory
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and info.compress_size != info.file_size:
        raise InputError(
            f"{path}: expected {info.file_size} stored bytes of `{key}`, but got {info.compress_size}. {PREDICT_AGAIN}"
        )
    file.seek(info.header_offset)
    _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    offset = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    return Member(path, offset, info.compress_size, info.file_size, info.CRC, deflated)


class MemberStream:
    """The bytes of a member from its first to its last; use it in a ``with`` statement.

    Args:
        member: from :func:`find_member`.

    Raises:
        InputError: from each method, if the file cannot be read or its bytes are not what its directory promises.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._crc = 0
        self._left = member.stored_size
        self._inflater = _inflater() if member.deflated else None

    def __enter__(self) -> MemberStream:
        try:
            self._file: IO[bytes] = self._member.path.open("rb", buffering=0)
            self._file.seek(self._member.offset)
        except OSError as error:
            raise self._unreadable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def readinto(self, buffer: memoryview) -> None:
        """Fill the whole buffer with the next bytes."""
        filled = 0
        while filled < len(buffer):
            taken = self._take(buffer[filled:])
            if not taken:
                raise self._damaged("it ends too early")
            self._crc = _crc32(buffer[filled : filled + taken], self._crc)
            filled += taken

    def finish(self) -> None:
        """Check, after the last byte, that nothing follows and that the CRC is right."""
        if self._take(memoryview(bytearray(1))):
            raise self._damaged("it is longer than promised")
        if self._crc != self._member.crc:
            raise self._damaged("its checksum is wrong")

    def _take(self, buffer: memoryview) -> int:
        try:
            return self._read(buffer) if self._inflater is None else self._inflate(self._inflater, buffer)
        except OSError as error:
            raise self._unreadable(error) from error
        except _INFLATE_ERRORS as error:
            raise self._damaged(first_line(error)) from error

    def _read(self, buffer: memoryview) -> int:
        count: int = self._file.readinto(buffer[: self._left])  # type: ignore[attr-defined]
        self._left -= count
        return count

    def _inflate(self, inflater: _Inflater, buffer: memoryview) -> int:
        # isal asks for no input while a few bits wait in its register, even if they are too few to go on with
        hungry = inflater.needs_input
        while not inflater.eof:
            packed = self._file.read(min(_INPUT_BYTES, self._left)) if hungry else b""
            self._left -= len(packed)
            values = inflater.decompress(packed, len(buffer))
            if values:
                buffer[: len(values)] = values
                return len(values)
            if hungry and not packed:
                break
            hungry = True
        return 0

    def _damaged(self, how: str) -> InputError:
        return InputError(f"{self._member.path}: is damaged ({how}). {PREDICT_AGAIN}")

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"{self._member.path}: cannot be read ({error.strerror or error}).")


class _Inflater(Protocol):
    """What the decompressors of bz2, lzma and isal have in common, and zlib's lacks."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _ZlibInflater:
    """zlib's decompressor with the interface of isal's."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def needs_input(self) -> bool:
        return not self._decompressor.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decompressor.decompress(self._decompressor.unconsumed_tail + data, max_length)


def _inflater() -> _Inflater:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE) if HAS_ISAL else _ZlibInflater()
