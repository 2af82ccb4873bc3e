"""Time of reading softmax files, beside np.load and other ways to inflate them.

    python scripts/benchmark_reading.py [--rounds 9] FILE.npz [FILE.npz ...]
    python scripts/benchmark_reading.py --make LARGE.npz --shape 120 198 198 --classes 3 SMALL.npz

All ways in turn, several rounds; medians over the rounds of the ratios to np.load within a round, so that a drifting machine does
not matter, for wall time and for CPU time (of all threads). --make writes a large file with about the compression ratio of the
small one: its log-probabilities enlarged, a little noise added, and softmax again. zlib-ng takes part where it is installed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from scipy.ndimage import zoom

from nnunet_nacl.evaluation import zip_member
from nnunet_nacl.evaluation.probabilities import KEY, open_probabilities
from nnunet_nacl.evaluation.zip_member import MemberStream, find_member

BASELINE = "np.load"


def whole_by_numpy(path: Path) -> None:
    np.load(path)[KEY]


def whole_by_libdeflate(path: Path, at_hand: bool = False) -> None:
    member = find_member(path, KEY)
    with path.open("rb") as file:
        file.seek(member.offset)
        out = room(member.size) if at_hand else member.size
        values = imagecodecs.deflate_decode(file.read(member.stored_size), out=out, raw=True)
    if imagecodecs.deflate_crc32(values) != member.crc:
        raise SystemExit(f"{path}: wrong checksum")


@functools.cache
def room(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def streamed(path: Path) -> None:
    """As the evaluator does, in this thread."""
    member = find_member(path, KEY)
    block = memoryview(bytearray(2**20))
    with MemberStream(member) as stream:
        for start in range(0, member.size, len(block)):
            stream.readinto(block[: member.size - start])
        stream.finish()


def streamed_by_zlib(path: Path) -> None:
    had, zip_member.HAS_ISAL = zip_member.HAS_ISAL, False
    try:
        streamed(path)
    finally:
        zip_member.HAS_ISAL = had


def streamed_by_zlib_ng(path: Path) -> None:
    from zlib_ng import zlib_ng

    had, zip_member.zlib = zip_member.zlib, zlib_ng
    try:
        streamed_by_zlib(path)
    finally:
        zip_member.zlib = had


def blocks(path: Path) -> None:
    """What the evaluator does: isal, or zlib where there is none, in large files in a thread that reads ahead."""
    classes, *spatial = shape_of(path)
    for _ in open_probabilities(path, classes, tuple(spatial)).blocks():
        pass


@functools.cache
def shape_of(path: Path) -> tuple[int, ...]:
    with np.load(path) as file:
        member = file.zip.open(f"{KEY}.npy")
        np.lib.format.read_magic(member)
        return np.lib.format.read_array_header_1_0(member)[0]


WAYS: dict[str, Callable[[Path], None]] = {
    BASELINE: whole_by_numpy,
    "zlib, streamed": streamed_by_zlib,
    "zlib-ng, streamed": streamed_by_zlib_ng,
    "libdeflate, whole": whole_by_libdeflate,
    "libdeflate, into an array at hand": functools.partial(whole_by_libdeflate, at_hand=True),
    "isal, streamed": streamed,
    "ProbabilityFile.blocks()": blocks,
}


def make(path: Path, small: Path, shape: tuple[int, ...], classes: int) -> None:
    random = np.random.default_rng(0)
    logits = np.log(np.maximum(np.load(small)[KEY], 1e-12)).astype(np.float32)
    factors = [new / old for new, old in zip(shape, logits.shape[1:], strict=True)]
    large = np.empty((classes, *shape), np.float32)
    for number in range(classes):
        first_time = number < len(logits)
        channel = zoom(logits[number if first_time else 1 + number % (len(logits) - 1)], factors, order=1)
        moved = channel if first_time else np.roll(channel, (7 * number, 11 * number, 5 * number), (0, 1, 2)) - 1
        large[number] = moved + random.normal(0, 0.05, shape)
    large -= large.max(0)
    np.exp(large, out=large)
    large /= large.sum(0)
    np.savez_compressed(path, probabilities=large)
    print(f"{path}: {large.shape}, compressed {large.nbytes / path.stat().st_size:.2f} times")


def measure(paths: list[Path], rounds: int) -> None:
    size = sum(find_member(path, KEY).size for path in paths) / 2**20
    ways = {name: way for name, way in WAYS.items() if "zlib-ng" not in name or importlib.util.find_spec("zlib_ng")}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for path in paths:
        shape_of(path)
    for _ in range(rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for path in paths:
                way(path)
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f"{len(paths)} files, {size:.0f} MiB unpacked, {rounds} rounds; times relative to {BASELINE}\n")
    print("| | wall | CPU | MiB per CPU second |\n|---|---|---|---|")
    for name, times in taken.items():
        wall, cpu = (
            statistics.median(own[kind] / base[kind] for own, base in zip(times, taken[BASELINE], strict=True))
            for kind in (0, 1)
        )
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {size / statistics.median(own[1] for own in times):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--make", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=(120, 198, 198))
    parser.add_argument("--classes", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.files[0], tuple(arguments.shape), arguments.classes)
    else:
        measure(arguments.files, arguments.rounds)


if __name__ == "__main__":
    main()
