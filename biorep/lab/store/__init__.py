"""The store: finished stages, run folders, and opening them as one tree."""

from __future__ import annotations

from biorep.lab.store.collected import collect, open
from biorep.lab.store.runs import PlanRecord, RunRecord, read_plan, write_plan, write_run
from biorep.lab.store.stages import Stages
from biorep.lab.store.status import status

__all__ = ["PlanRecord", "RunRecord", "Stages", "collect", "open", "read_plan", "status", "write_plan", "write_run"]
