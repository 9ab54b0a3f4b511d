"""The store: finished stages, run folders, and opening them as one tree."""

from __future__ import annotations

from biorep.store.collected import collect, open
from biorep.store.runs import PlanRecord, RunRecord, read_plan, write_plan, write_run
from biorep.store.stages import Stages
from biorep.store.standing import status

__all__ = ["PlanRecord", "RunRecord", "Stages", "collect", "open", "read_plan", "status", "write_plan", "write_run"]
