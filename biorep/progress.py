"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import TextIO


class Meter(contextlib.AbstractContextManager["Meter"]):
    """Reports progress: a tqdm bar on a terminal, else a line every 5 % that is at least 2 s old, or 60 s."""

    def __init__(self, label: str, total: int, stream: TextIO):
        self.label, self.total, self.stream = label, max(total, 1), stream
        self.start = self.last = time.monotonic()
        self.shown, self.bar = 0.0, None
        if self.stream.isatty():
            from tqdm import tqdm

            self.bar = tqdm(desc=label, total=total, file=self.stream, leave=False)

    def show(self, done: int) -> None:
        """Report that `done` of the total are done."""
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            return
        now, share = time.monotonic(), done / self.total
        if done and ((share - self.shown >= 0.05 and now - self.last >= 2.0) or now - self.last >= 60.0):
            left = (now - self.start) * (1 / share - 1)
            print(f"  {self.label}: {100 * share:.0f} %, about {left:.0f} s left", file=self.stream, flush=True)
            self.last, self.shown = now, share

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
