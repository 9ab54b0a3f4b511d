"""The store: finished stages, run folders, and opening them as one tree."""

from __future__ import annotations

from biorep.store.collect import open
from biorep.store.runs import PlanRecord, RunRecord, read_plan, write_plan, write_run
from biorep.store.stages import Stages

__all__ = ["PlanRecord", "RunRecord", "Stages", "open", "read_plan", "write_plan", "write_run"]
