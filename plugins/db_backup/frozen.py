"""The base of what is told: reports, summaries, records. Every shell prints or stores them as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Checked when it is made, and never changed after."""

    model_config = ConfigDict(frozen=True)
