"""One part on its way through Tink, so that nothing incomplete ever ends as if it were complete.

Tink writes its final segment whenever a stream is closed: also when an exception leaves the ``with`` block, and when
the stream is collected as garbage. What was written until then would decrypt as complete and valid. So what Tink writes
to raises once the part is given up, and the final segment is written on ``finish`` alone.
"""

from __future__ import annotations

from typing import Protocol

Block = bytes | bytearray | memoryview


class Encryptor(Protocol):
    def write(self, block: Block) -> None:
        """What the target raises is raised as it is. The encryptor is then good only for ``abandon``."""

    def finish(self) -> None:
        """Write the final segment; without it, what was written is no part."""

    def abandon(self) -> None:
        """Nothing more is written, whatever becomes of this object. Never raises; right at any time."""
