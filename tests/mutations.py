"""Seeded damage to files: bytes flipped, cut, doubled and moved; values of tables replaced by what nobody expects.

PHYSADV_FUZZ=10 tries ten times as many. What is made of each copy may take neither 20 seconds nor a gigabyte.
"""

import copy
import os
import random
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

TIMES = int(os.environ.get("PHYSADV_FUZZ", "1"))
MAX_S, MAX_KB = 20.0, 1_000_000
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 10**40, 0.5, -1e308, 1e308, float("nan"), float("inf"), "", "x", "\0",
    "../../x", "\x1b[2J", "é" * 300, "9" * 5000, [], [[]], [None] * 5, {}, {"a": {}}, {"": None},
)  # fmt: skip
TOKENS = (
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xf0\0\0\0",
    b"[" * 3000,
    b"{" * 40,
    b'"',
    b"-",
    b"1e999",
    b"NaN",
    b"\r\n",
    b"\\u0000",
)


def damaged(data: bytes, count: int, seed: int = 0, words: Sequence[bytes] = ()) -> Iterator[bytes]:
    """Yield `count` copies of a file's bytes, each damaged at one to four places; the same for the same seed.

    words: what is put in besides `TOKENS`.
    """
    rng = random.Random(seed)
    for _ in range(count * TIMES):
        out = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            _damage(out, rng, (*TOKENS, *words))
        yield from _bounded(bytes(out))


def _damage(out: bytearray, rng: random.Random, tokens: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    length = rng.choice((1, 2, 4, 8, 64, 1000))
    kind = rng.randrange(6)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        out[at : at + length] = rng.randbytes(min(length, 16))
    elif kind == 2:
        del out[at : at + length]
    elif kind == 3:
        out[at:at] = out[at : at + length]
    elif kind == 4:
        del out[at:]
    else:
        out[at:at] = rng.choice(tokens)


def mistyped(value: Any, count: int, seed: int = 0, others: Sequence[Any] = ()) -> Iterator[Any]:
    """Yield `count` copies of a JSON value in which one to three members are replaced, renamed, dropped or doubled.

    others: what takes a member's place besides `ODD`.
    """
    rng = random.Random(seed)
    for _ in range(count * TIMES):
        out = copy.deepcopy(value)
        for _ in range(rng.randint(1, 3)):
            out = _mistype(out, rng, (*ODD, *others))
        yield from _bounded(out)


def _bounded(item: Any) -> Iterator[Any]:
    """Yield one thing and check what was spent until the next one is asked for."""
    began, before = time.monotonic(), peak_kb()
    yield item
    assert time.monotonic() - began < MAX_S, f"took too long: {item!r:.400}"
    assert peak_kb() - before < MAX_KB, f"took too much memory: {item!r:.400}"


def peak_kb() -> int:
    """The most memory that this process has held, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mistype(value: Any, rng: random.Random, odd: Sequence[Any]) -> Any:
    if not (isinstance(value, dict | list) and value and rng.random() < 0.85):
        return copy.deepcopy(rng.choice(odd))
    at: Any = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    kind = rng.randrange(8)
    if kind == 0:
        del value[at]
    elif kind > 1:
        value[at] = _mistype(value[at], rng, odd)
    elif isinstance(value, dict):
        value[str(at) + rng.choice(("x", "\0", ""))] = value.pop(at)
    else:
        value.append(copy.deepcopy(value[at]))
    return value
