"""Pipeline + subject -> Plan: what runs where, in how many legs, and why the rest does not."""

from lisa_ci.planning.advice import advice
from lisa_ci.planning.explain import counted, explain
from lisa_ci.planning.plan import make_plan, refuse_empty

__all__ = ["advice", "counted", "explain", "make_plan", "refuse_empty"]
