"""A person's answer to the plan of a restore, and whether it is the yes that this restore needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from db_backup.errors import Refused
from db_backup.model import utc_now

if TYPE_CHECKING:
    from db_backup.jobs.restore import RestorePlan

ANSWER_KEY = "answer"
"""The XCom under which an approval leaves :attr:`Answer.document`."""

HOLDS_FOR = timedelta(hours=24)
"""How long a yes may be carried out; what somebody agreed to is about what they knew then."""

_ASK_ANOTHER = "Start a new run, and let somebody else approve it."
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Answer:
    """Who said what, and when (UTC, ISO)."""

    approved: bool
    by: str
    at: str

    @property
    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self | None:
        return cls(document["approved"] is True, str(document["by"]), str(document["at"])) if document else None


def may_go_unasked(plan: RestorePlan) -> bool:
    """Whether nothing that exists is touched: only a new database or a scratch server."""
    from db_backup.jobs.restore import Way

    return plan.way in {Way.NEW, Way.SCRATCH}


def refuse_without_yes(
    plan: RestorePlan, answer: Answer | None, *, asked: bool, four_eyes: bool, requester: str
) -> None:
    """Refuse a restore that needs a yes and has none.

    :param asked: that somebody is asked is part of the DAG; otherwise only what is protected needs a yes, or
        everything that exists where ``four_eyes`` are demanded.
    :param requester: who started the run; empty when nobody knows.
    :raises Refused:
    """
    if may_go_unasked(plan):
        return
    if answer is None:
        if not (asked or four_eyes or plan.protected):
            return
        raise Refused(
            f"The restore of {plan.backup_id} would change {plan.target_address}, and nobody has approved it.",
            hint="Run the DAG backup_restore, which asks for approval, or restore into a new database.",
            database=plan.entry,
            backup_id=plan.backup_id,
        )
    if not answer.approved:
        raise Refused(
            f"{answer.by} rejected the restore of {plan.backup_id}. Nothing was changed.",
            hint="Start a new run if it is wanted after all.",
            database=plan.entry,
            backup_id=plan.backup_id,
        )
    if utc_now() - datetime.fromisoformat(answer.at) > HOLDS_FOR:
        raise Refused(
            f"{answer.by} approved the restore of {plan.backup_id} more than {HOLDS_FOR / _HOUR:g} hours ago, at "
            f"{answer.at}. Nothing was changed.",
            hint="Start a new run, which asks again.",
            database=plan.entry,
            backup_id=plan.backup_id,
        )
    if four_eyes:
        refuse_own_approval(plan, answer, requester)


def refuse_own_approval(plan: RestorePlan, answer: Answer, requester: str) -> None:
    """BACKUP_RESTORE_FOUR_EYES: whoever approves must be somebody else than who asked.

    :raises Refused:
    """
    if not requester:
        reason = "nobody knows who asked for it, so nobody can be somebody else (BACKUP_RESTORE_FOUR_EYES=true)"
        hint = "Start the run by Airflow's UI or REST API, as a person who is logged in."
    elif not answer.by:
        reason = "nobody knows who approved it, and BACKUP_RESTORE_FOUR_EYES=true wants two people"
        hint = _ASK_ANOTHER
    elif answer.by.casefold() == requester.casefold():
        reason = f"{answer.by} asked for it and approved it, and BACKUP_RESTORE_FOUR_EYES=true wants two people"
        hint = _ASK_ANOTHER
    else:
        return
    raise Refused(
        f"The restore of {plan.backup_id} is refused: {reason}. Nothing was changed.",
        hint=hint,
        database=plan.entry,
        backup_id=plan.backup_id,
    )
