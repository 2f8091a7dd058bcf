"""Mutations of files: of any bytes, of npz archives (with a correct checksum afterwards), and of JSON values."""

import copy
import io
import json
import random
import struct
import warnings
import zipfile

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1)
VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        2**63,
        10**20,
        "",
        "x",
        "../../x",
        "\x1b[31m",
    ),
    *([], {}, [[]], [None], {"a": {}}, "nan", [1] * 1000),
)
TOKENS = (
    *(
        "(4,)",
        "(99999999999999999999,)",
        "(1099511627776, 4)",
        "(-1,)",
        "()",
        "(0,)",
        "(True,)",
        "((((((1,))))))",
        "(4.0,)",
    ),
    *("'<f4'", "'<f8'", "'|O'", "'|V3'", "'<U999999999'", "'<c16'", "'<i4'", "'<M8[s]'", "[('a', '<f4')]"),
    *("True", "False", "None", "__import__('os').system('x')", "'descr'", "{", "}", "'", "\n", "\x00"),
)


def any_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four random changes of bytes: flips, numbers at their limits, cuts, copies and insertions."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not data:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(16)))
        at, kind = rng.randrange(len(data)), rng.randrange(8)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            data[at:at] = data[at : at + rng.randrange(1, 256)]
        elif kind == 5:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(INTERESTING) & (1 << 8 * size) - 1
            data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 6:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 16)))
        else:
            data[at : at + 32] = bytes(len(data[at : at + 32]))
    return bytes(data)


def json_value(text: bytes, rng: random.Random) -> bytes:
    """A JSON text in which one to three values are replaced, removed or doubled."""
    root = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        node = root
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
                kind = rng.randrange(4)
                if kind == 0:
                    del node[key]
                elif kind == 1 and isinstance(node, dict):
                    node[rng.choice(("x", "", "seed", "data", "\n"))] = node.pop(key)
                elif kind == 1:
                    node.append(inner)
                else:
                    node[key] = copy.deepcopy(rng.choice(VALUES))
                break
            node = inner
    return json.dumps(root).encode()


def archive(content: bytes, rng: random.Random) -> bytes:
    """An npz archive with one odd member: its header, data, name, JSON or declared size. Its checksums are correct."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
    at, kind = rng.randrange(len(members)), rng.randrange(9)
    name, data = members[at]
    if kind == 0:
        members[at] = name, any_bytes(data, rng)
    elif kind == 1:
        members[at] = (
            rng.choice(("../x.npy", "/etc/x.npy", "meta.npy", "x", name * 2, "\x1b[2J.npy", name + "\n")),
            data,
        )
    elif kind == 2:
        del members[at]
    elif kind == 3:
        members.append((name, data))
    elif kind == 4:
        members.append(("extra.npy", data))
    elif kind in (5, 6):
        members[at] = name, _odd_header(data, rng)
    elif kind == 7:
        metas = [i for i, (n, _) in enumerate(members) if n == "meta.npy"]
        members = _odd_meta(members, metas[0], rng) if metas else members[::-1]
    new = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(new, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file,
    ):
        warnings.simplefilter("ignore")  # of names that occur twice
        for member in members:
            file.writestr(*member)
    found = new.getvalue()
    if kind == 8:  # a declared size in the directory
        entry = found.rfind(b"PK\x01\x02")
        size = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**32 - 2)))
        place = entry + rng.choice((20, 24))  # compressed or uncompressed size
        found = found[:place] + size + found[place + 4 :]
    return found


def _odd_header(data, rng):
    """The array with another text in its header; the length in front of the header fits."""
    if data[:6] != b"\x93NUMPY":
        return any_bytes(data, rng)
    length = struct.unpack("<H", data[8:10])[0]
    header, rest = data[10 : 10 + length].decode("latin1"), data[10 + length :]
    parts = header.split(": ")
    chosen = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
    tail = parts[chosen][parts[chosen].rfind(", '") :] if ", '" in parts[chosen] else ", }"
    parts[chosen] = rng.choice(TOKENS) + tail
    header = ": ".join(parts).encode("latin1", "replace")
    return data[:8] + struct.pack("<H", min(len(header), 65535)) + header + rest


def _odd_meta(members, at, rng):
    """The members with other values in the JSON of `meta`, a uint8 array."""
    name, data = members[at]
    length = struct.unpack("<H", data[8:10])[0]
    text = json_value(data[10 + length :], rng)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},), }}\n".encode()
    members[at] = name, data[:8] + struct.pack("<H", len(header)) + header + text
    return members
