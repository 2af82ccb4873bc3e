"""Damaging files: bytes, zip archives, npy headers and JSON trees. Everything is drawn from the ``random.Random`` that is given."""

import copy
import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

NASTY_NUMBERS = (0, 1, -1, 2, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NASTY_VALUES = (
    None, True, False, 0, 1, -1, 3, 10**9, 2**63, 10**400, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"),
    "", "0", "1", "a", "a\nb", "\0", "\ud800", "\u202e", "[/red]", "[bold", "../../x", "~nobody/x", "__class__", "nan", "(1, 2)", "x" * 5000,
    [], {}, [[]], [None], ["a"], [0], [1, 2], {"a": 1}, {"0": {}}, {"background": 0}, [1e400, -1e400],
)  # fmt: skip
NASTY_TEXTS = (
    b"", b"\0", b"null", b"[]", b"{}", b'"x"', b"1e999", b"NaN", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000,
    b'{"a":' * 50_000, b"9" * 10_000, b'{"a": 1, "a": 2}', b"\x80\x04N.", b"\x93NUMPY\x01\x00", b"PK\x05\x06" + bytes(18),
)  # fmt: skip


def damaged_bytes(rng, content):
    """Return the content after one to four changes: bits, bytes, runs, cuts, repetitions, numbers."""
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        size = len(changed)
        start = rng.randrange(size + 1)
        length = rng.randrange(1, rng.choice((2, 5, 40)))
        kind = rng.choice(("bit", "byte", "number", "remove", "insert", "cut", "repeat", "zero", "tail"))
        if kind == "bit" and size:
            changed[start % size] ^= 1 << rng.randrange(8)
        elif kind == "byte" and size:
            changed[start % size] = rng.randrange(256)
        elif kind == "number":
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(NASTY_NUMBERS) % 256**width
            changed[start : start + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif kind == "remove":
            del changed[start : start + length]
        elif kind == "insert":
            changed[start:start] = bytes(rng.randrange(256) for _ in range(length))
        elif kind == "cut" and rng.randrange(4) == 0:
            del changed[start:]
        elif kind == "repeat":
            changed[start:start] = changed[start : start + length * 4]
        elif kind == "zero":
            changed[start : start + length] = bytes(len(changed[start : start + length]))
        elif kind == "tail":
            changed += bytes(rng.randrange(256) for _ in range(length))
    return bytes(changed)


def damaged_tree(rng, tree):
    """Return a JSON tree after one to three changes of its values and keys."""
    changed = copy.deepcopy(tree)
    for _ in range(rng.randrange(1, 4)):
        places = list(_places(changed))
        if not places:
            return rng.choice(NASTY_VALUES)
        holder, key = rng.choice(places)
        kind = rng.choice(("value", "value", "value", "remove", "swap", "nudge", "rename", "again"))
        if kind == "value":
            holder[key] = copy.deepcopy(rng.choice(NASTY_VALUES))
        elif kind == "remove":
            del holder[key]
        elif kind == "swap":
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other[name])
        elif kind == "nudge" and isinstance(holder[key], (int, float)):
            holder[key] = holder[key] * rng.choice((-1, 2, 1.5, 0, 1.0)) + rng.choice((0, 1, -1, 0.5))
        elif kind == "rename" and isinstance(holder, dict):
            holder[rng.choice(("", "0", "a", "\ud800", "ignore", "background", f"{key} "))] = holder.pop(key)
        elif kind == "again" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
    return changed


def damaged_json(rng, tree):
    """Return JSON text of a damaged tree, or damaged JSON text."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(NASTY_TEXTS)
    if kind < 3:
        return damaged_bytes(rng, json.dumps(tree, indent=rng.choice((None, 1))).encode())
    return json.dumps(damaged_tree(rng, tree)).encode()


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


@dataclass(frozen=True)
class Member:
    """A zip member as it is written, field by field (APPNOTE.TXT 4.3.7, 4.3.12), so that any of them can lie."""

    name: bytes
    data: bytes
    method: int
    size: int
    crc: int
    flags: int = 0
    version: int = 20
    extra: bytes = b""
    local: tuple = ()  # (flags, method, crc, stored size, size) of the local header where they differ from the directory's

    @classmethod
    def of(cls, name, content, deflated=True):
        """Return an honest member."""
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = packer.compress(content) + packer.flush() if deflated else content
        method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        return cls(name.encode(), data, method, len(content), zlib.crc32(content))


def zip_of(members, before=b"", comment=b""):
    """Return a zip archive of members, written as they say."""
    body, directory = bytearray(before), bytearray()
    for member in members:
        offset = len(body)
        flags, method, crc, stored, size = member.local or (
            member.flags, member.method, member.crc, len(member.data), member.size)  # fmt: skip
        fields = (
            member.version,
            flags,
            method,
            0,
            0,
            crc,
            stored % 2**32,
            size % 2**32,
            len(member.name),
            len(member.extra),
        )
        body += b"PK\3\4" + struct.pack("<5H3L2H", *fields) + member.name + member.extra + member.data
        fields = (20, member.version, member.flags, member.method, 0, 0, member.crc, len(member.data), min(member.size, 2**32 - 1),
                  len(member.name), len(member.extra), 0, 0, 0, 0, offset)  # fmt: skip
        directory += b"PK\1\2" + struct.pack("<6H3L5H2L", *fields) + member.name + member.extra
    end = struct.pack("<4H2LH", 0, 0, len(members), len(members), len(directory), len(body), len(comment))
    return bytes(body + directory + b"PK\5\6" + end + comment)


@cache
def bomb(start=b"", size=2**31):
    """Return a member of ``start`` and ``size`` zeros, a thousandth of that in the file."""
    block = bytes(2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start + block) + packer.flush(zlib.Z_FULL_FLUSH)
    # after a full flush, equal input packs to equal bytes
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(block, zlib.crc32(start))
    for _ in range(size // len(block) - 1):
        crc = zlib.crc32(block, crc)
    data = first + again * (size // len(block) - 1) + packer.flush()
    return Member(b"bomb.npy", data, zipfile.ZIP_DEFLATED, len(start) + size, crc)


def damaged_members(rng, members):
    """Return zip members of which one to three fields lie, or that are doubled, renamed, removed or bombs."""
    members = list(members)
    for _ in range(rng.randrange(1, 4)):
        if not members:
            break
        place = rng.randrange(len(members))
        member = members[place]
        kind = rng.choice(
            (
                "double",
                "remove",
                "rename",
                "crc",
                "size",
                "method",
                "flags",
                "version",
                "zip64",
                "local",
                "bomb",
                "data",
                "swap",
            )
        )
        if kind == "double":
            members.insert(rng.randrange(len(members) + 1), replace(member, data=damaged_bytes(rng, member.data)))
        elif kind == "remove":
            del members[place]
        elif kind == "rename":
            members[place] = replace(member, name=damaged_bytes(rng, member.name)[:200])
        elif kind == "crc":
            members[place] = replace(member, crc=member.crc ^ (1 << rng.randrange(32)))
        elif kind == "size":
            members[place] = replace(
                member, size=rng.choice((member.size + 1, max(member.size - 1, 0), *NASTY_NUMBERS)) % 2**32
            )
        elif kind == "method":
            members[place] = replace(member, method=rng.choice((0, 1, 8, 9, 12, 14, 93, 99, 65535)))
        elif kind == "flags":
            members[place] = replace(member, flags=rng.choice((1, 8, 0x20, 0x40, 0x800, 0x2000, rng.randrange(65536))))
        elif kind == "version":
            members[place] = replace(member, version=rng.choice((0, 45, 63, 64, 255, 65535)))
        elif kind == "zip64":
            numbers = [
                rng.choice((*NASTY_NUMBERS, member.size, len(member.data))) % 2**64 for _ in range(rng.randrange(4))
            ]
            extra = struct.pack(f"<2H{len(numbers)}Q", 1, rng.choice((8 * len(numbers), 3, 65535)), *numbers)
            members[place] = replace(member, extra=extra, size=rng.choice((member.size, 2**32 - 1)))
        elif kind == "local":
            fields = [member.flags, member.method, member.crc, len(member.data), member.size % 2**32]
            number = rng.randrange(5)
            fields[number] = rng.choice(NASTY_NUMBERS) % (65536 if number < 2 else 2**32)
            members[place] = replace(member, local=tuple(fields))
        elif kind == "bomb":
            made = bomb(rng.choice((b"", b"\x93NUMPY\2\0\xff\xff\xff\x7f", b"\x93NUMPY\3\0\xff\xff\xff\xff")))
            members[place] = replace(made, name=member.name)
        elif kind == "data":
            members[place] = replace(member, data=damaged_bytes(rng, member.data))
        elif kind == "swap":
            other = rng.randrange(len(members))
            members[place], members[other] = (
                replace(member, name=members[other].name),
                replace(members[other], name=member.name),
            )
    return members


def npz_members(arrays, deflated=True):
    """Return the members of an npz file."""
    members = []
    for name, values in arrays.items():
        content = io.BytesIO()
        np.lib.format.write_array(content, values, allow_pickle=False)
        members.append(Member.of(f"{name}.npy", content.getvalue(), deflated))
    return members


DESCRIPTIONS = (
    "'<f4'", "'>f4'", "'<f8'", "'<f2'", "'<f16'", "'|O'", "'<i4'", "'<c8'", "'<U3'", "'<U1000000000'", "'|V4'", "'|S0'", "'<M8[ns]'",
    "'float32'", "[('a', '<f4')]", "[('a', '|O')]", "[('a', '<f4', (1000000, 1000000))]", "('<f4', (2,))", "('|O', {})", "None", "1",
    "[]", "''", "'f4,f4'", "{'names': ['a'], 'formats': ['<f4']}", "'\\\\d'", "b'<f4'", "'<f4' '<f4'", "'|b1'", "'<i8'",
)  # fmt: skip
SHAPES = (
    "()", "(3,)", "(0,)", "(3, 2, 3, 4)", "(3, 2, 3, 4,)", "(3, 3, 4)", "(4, 2, 3, 3)", "(-1,)", "(3, -2, -3, 4)", "(3, 2, 3, -4)",
    "(9223372036854775808,)", "(4294967296, 4294967296)", "(1000000000, 1000000000, 1000000000)", "(1000000000000,)", "(72,)", "(True, 2)",
    "(3.0, 2, 3, 4)", "(3L, 2L, 3L, 4L)", "(3L,)", "72", "None", "[3, 2, 3, 4]", "('3',)", "(0x3, 2, 3, 4)", "(1,) * 9", "(0, 1000000000000)",
    "{3, 2}", "(1, " * 40 + ")" * 40, "(" + "1, " * 60 + ")", "(1e999,)", "(3, 2, 3, 4) if 1 else ()",
)  # fmt: skip


def npy(rng, description, shape, data):
    """Return an npy file whose header says one thing or another; ``description`` and ``shape`` are what would be true."""
    description = rng.choice((description, description, rng.choice(DESCRIPTIONS)))
    shape = rng.choice((shape, shape, rng.choice(SHAPES)))
    order = rng.choice(("False", "False", "True", "None", "0", "1", "'F'"))
    fields = [f"'descr': {description}", f"'fortran_order': {order}", f"'shape': {shape}"]
    if rng.randrange(8) == 0:
        fields = rng.choice(
            (fields[:2], fields[::-1], [*fields, "'extra': 1"], [*fields, fields[2]], [*fields, "'shape': (1,)"])
        )
    text = ("{" + ", ".join(fields) + ", }").encode()
    if rng.randrange(5) == 0:
        text = damaged_bytes(rng, text)
    if rng.randrange(12) == 0:
        text = rng.choice(
            (
                b"(" * 9000,
                b"__import__('os').getcwd()",
                b"{'a': " * 90,
                b"\xff\xfe",
                b"1" * 5000,
                b"",
                b"'\\d'",
                b"1if 1else 2",
            )
        )
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 1), (4, 0), (255, 255)))
    width = 2 if version == (1, 0) else 4
    length = (
        rng.choice((len(text), len(text), len(text), len(text) - 1, len(text) + 70, 0, 256**width - 1)) % 256**width
    )
    data = rng.choice((data, data, data[:-1], data + b"\0", data * 2, b""))
    return b"\x93NUMPY" + bytes(version) + length.to_bytes(width, "little") + text + data
