"""What ends the demo early."""

from __future__ import annotations


class DemoFailed(Exception):
    """:param details: what a person needs to find the cause, such as the end of a log."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
