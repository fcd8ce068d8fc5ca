"""Playbook folders: loaded strictly into documents, with the place of every field and of every problem."""

from opportune.adapters.playbook.compile_errors import place_error, place_expression_error
from opportune.adapters.playbook.folder import LoadedPlaybook, load
from opportune.adapters.playbook.marks import Marks
from opportune.adapters.playbook.problems import Place, PlaybookError, PlaybookProblem
from opportune.adapters.playbook.references import ReferenceProblem, check_references
from opportune.adapters.playbook.scaffold import ScaffoldError, sample_folders, scaffold
from opportune.adapters.playbook.schemas import schema_json, write_schemas
from opportune.adapters.playbook.written import add_scenario
from opportune.core.contracts import compile_contract
from opportune.core.schemas import signal_fields

__all__ = [
    "LoadedPlaybook",
    "Marks",
    "Place",
    "PlaybookError",
    "PlaybookProblem",
    "ReferenceProblem",
    "ScaffoldError",
    "add_scenario",
    "check_references",
    "compile_contract",
    "load",
    "place_error",
    "place_expression_error",
    "sample_folders",
    "scaffold",
    "schema_json",
    "signal_fields",
    "write_schemas",
]
