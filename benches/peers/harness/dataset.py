"""The rows: the same bytes for every peer, computable anywhere from the key alone.

    pool   16 MiB of fixed pseudo-random bytes, without NUL, tab, newline and backslash
    row i  key i, value pool[(i * step) mod span : + row_bytes]

The four bytes are left out so that text loaders need no escapes; what is left carries 7.98 bits a
byte, so no peer gains or loses by compression. `step` is near the golden ratio of `span` and
coprime to it: values of neighbouring rows never overlap, and all values differ up to `span` rows.
"""

import math
import random

POOL_BYTES = 16 << 20
SAMPLES = 1_000
SEED = 20_260_101
FORBIDDEN = (0, 9, 10, 92)


def make_pool(pool_bytes, seed):
    """Pseudo-random bytes without the forbidden four; equal for equal arguments."""
    source = random.Random(seed)
    drop = bytes(FORBIDDEN)
    pool = bytearray()
    while len(pool) < pool_bytes:
        pool += source.randbytes(1 << 20).translate(None, drop)
    return bytes(pool[:pool_bytes])


def golden_step(span):
    """The largest step at or below span / phi that is coprime to span."""
    step = int(span * 0.6180339887498949)
    while math.gcd(step, span) != 1:
        step -= 1
    return step


class Dataset:
    """`rows` rows with keys 0..rows and values of `row_bytes` bytes."""

    def __init__(self, rows, row_bytes, seed=SEED, pool_bytes=POOL_BYTES):
        if rows < 1:
            raise ValueError(f"rows must be at least 1, not {rows}")
        if not 1 <= row_bytes <= 2_000:
            # Above this PostgreSQL would move values out of the row: another comparison.
            raise ValueError(f"row bytes must lie in 1..=2000, not {row_bytes}")
        self.rows = rows
        self.row_bytes = row_bytes
        self.seed = seed
        self.pool = make_pool(pool_bytes, seed)
        self.span = pool_bytes - row_bytes
        self.step = golden_step(self.span)

    def value(self, key):
        """The value of row `key`; also defined past the last row."""
        offset = key * self.step % self.span
        return self.pool[offset:offset + self.row_bytes]

    def values(self, first, end):
        """(key, value) of rows first..end, several times faster than value() one by one."""
        pool, row_bytes, step, span = self.pool, self.row_bytes, self.step, self.span
        offset = first * step % span
        for key in range(first, end):
            yield key, pool[offset:offset + row_bytes]
            offset += step
            if offset >= span:
                offset -= span

    def sample(self):
        """Sampled keys, sorted: the first row, the last, and others spread by a fixed seed."""
        count = min(SAMPLES, self.rows)
        keys = set(random.Random(self.seed).sample(range(self.rows), count))
        return sorted(keys | {0, self.rows - 1})

    def chunks(self, size):
        """(first, end) pairs that cover all rows in order."""
        for first in range(0, self.rows, size):
            yield first, min(first + size, self.rows)
