"""A small server with the documented shapes of MLflow's REST API, over real HTTP; what it got is kept for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API, FILES = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts"
DOES_NOT_EXIST, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


class Refused(Exception):
    """An error as MLflow answers it: status and code."""


class Mlflow:
    """Experiments, runs, registered models and files; `broken` names calls that fail, `drops` how many are cut off."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.files: dict[str, bytes] = {}
        self.broken: dict[str, tuple[int, str]] = {}
        self.drops = 0
        self.wanted: str | None = None
        self.calls: list[str] = []

    def call(self, verb: str, method: str, given: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(method)
        if method in self.broken:
            raise Refused(*self.broken[method])
        found: dict[str, Any] = getattr(self, method.replace("/", "_").replace("-", "_"))(given)
        return found

    def experiments_get_by_name(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["experiment_name"] not in self.experiments:
            raise Refused(404, DOES_NOT_EXIST)
        return {"experiment": {"experiment_id": self.experiments[given["experiment_name"]]}}

    def experiments_create(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"experiment_id": self.experiments.setdefault(given["name"], str(len(self.experiments) + 1))}

    def runs_create(self, given: dict[str, Any]) -> dict[str, Any]:
        id_ = f"run{len(self.runs) + 1}"
        uri = f"mlflow-artifacts:/{given['experiment_id']}/{id_}/artifacts"
        self.runs[id_] = {**given, "status": "RUNNING", "params": [], "metrics": [], "datasets": [], "uri": uri}
        return {"run": {"info": {"run_id": id_, "artifact_uri": uri}}}

    def runs_log_batch(self, given: dict[str, Any]) -> dict[str, Any]:
        for name in ("params", "metrics"):
            if len(given.get(name, ())) > 100:
                raise Refused(400, "INVALID_PARAMETER_VALUE")
            self.runs[given["run_id"]][name] += given.get(name, [])
        return {}

    def runs_log_inputs(self, given: dict[str, Any]) -> dict[str, Any]:
        self.runs[given["run_id"]]["datasets"] += given["datasets"]
        return {}

    def runs_update(self, given: dict[str, Any]) -> dict[str, Any]:
        self.runs[given["run_id"]]["status"] = given["status"]
        return {"run_info": {}}

    def runs_get(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"run": {"data": {"tags": self.runs[given["run_id"]]["tags"]}}}

    def registered_models_create(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["name"] in self.versions:
            raise Refused(400, EXISTS)
        self.versions[given["name"]] = []
        return {"registered_model": {"name": given["name"]}}

    def model_versions_create(self, given: dict[str, Any]) -> dict[str, Any]:
        mine = self.versions[given["name"]]
        mine.append({**given, "version": str(len(mine) + 1)})
        return {"model_version": mine[-1]}

    def model_versions_get(self, given: dict[str, Any]) -> dict[str, Any]:
        mine = self.versions.get(given["name"], [])
        if not 0 < int(given["version"]) <= len(mine):
            raise Refused(404, DOES_NOT_EXIST)
        return {"model_version": mine[int(given["version"]) - 1]}

    def model_versions_get_download_uri(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"artifact_uri": self.model_versions_get(given)["model_version"]["source"]}

    def registered_models_alias(self, given: dict[str, Any]) -> dict[str, Any]:
        version = self.aliases.get((given["name"], given["alias"]))
        if version is None:
            raise Refused(404, DOES_NOT_EXIST)
        return {"model_version": self.versions[given["name"]][version - 1]}

    def listed(self, path: str) -> dict[str, Any]:
        below = [name.removeprefix(path + "/") for name in self.files if name.startswith(path + "/")]
        return {"files": [{"path": name, "is_dir": False, "file_size": 1} for name in below]}


@contextmanager
def mlflow() -> Iterator[tuple[Mlflow, str]]:
    """The server at work, and its address."""
    found = Mlflow()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Says nothing."""

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if found.drops:
                found.drops -= 1
                self.close_connection = True
                return
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                answer = self.answer(parts.path, query, body)
            except Refused as error:
                status, code = error.args
                self.send(status, json.dumps({"error_code": code, "message": "no"}).encode())
            else:
                self.send(200, answer)

        def answer(self, path: str, query: dict[str, str], body: bytes) -> bytes:
            if found.wanted is not None and self.headers.get("authorization") != found.wanted:
                raise Refused(401, "PERMISSION_DENIED")
            if path.startswith(API):
                given = json.loads(body) if body else query
                return json.dumps(found.call(self.command, path.removeprefix(API), given)).encode()
            assert path.startswith(FILES)
            name = unquote(path.removeprefix(FILES)).strip("/")
            if self.command == "PUT":
                found.files[name] = body
                return b"{}"
            return found.files[name] if name else json.dumps(found.listed(query["path"])).encode()

        def send(self, status: int, answer: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do  # noqa: N815 - the base class looks for these

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
