"""MLflow over its documented REST API: runs are logged to a tracking server, models come from its registry."""

from opportune.adapters.mlflow.registry import fetched, parse_reference
from opportune.adapters.mlflow.rest import MlflowError, Server, server_of
from opportune.adapters.mlflow.runs import log_run

__all__ = ["MlflowError", "Server", "fetched", "log_run", "parse_reference", "server_of"]
