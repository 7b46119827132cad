"""The user's files -> frozen values: ``lisa-ci.yml`` -> Pipeline, ``suite.yaml`` -> Suite."""

from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.loader import load_pipeline, parse_pipeline
from lisa_ci.pipeline.profiles import all_profiles, azure_catalogue, catalogue
from lisa_ci.pipeline.suites import bundled_suites, find_suite, load_planned_suite, load_suite

__all__ = [
    "Known",
    "all_profiles",
    "azure_catalogue",
    "bundled_suites",
    "catalogue",
    "find_suite",
    "load_pipeline",
    "load_planned_suite",
    "load_suite",
    "parse_pipeline",
]
