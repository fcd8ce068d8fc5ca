"""Calls to an MLflow server: JSON in and out, artefacts as bytes, with deadlines and sentences for what goes wrong."""

from __future__ import annotations

import http.client
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
SCHEME = "mlflow-artifacts:"
WAIT_MAX_S = 10.0
ANSWER_BYTES_MAX = 256 * 1024 * 1024
ATTEMPTS = 2
"""A server that was restarted or a connection that broke is asked once more; every call here may be repeated."""


class MlflowError(ValueError):
    """What an MLflow server did not do, in words. `code` is its own error code, such as RESOURCE_DOES_NOT_EXIST."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Server(msgspec.Struct, frozen=True):
    """Where a tracking server is, and the header that lets us in (never shown)."""

    address: str
    authorization: str | None = None

    @property
    def shown(self) -> str:
        """The address without what somebody may have written into it as user and password."""
        parts = urlsplit(self.address)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

    def get(self, method: str, **query: str) -> Any:  # noqa: ANN401 - whatever the server answers
        """The answer of a GET of the tracking API; MlflowError."""
        return self._json("GET", f"{API}{method}?{urlencode(query)}", None)

    def post(self, method: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """The answer of a POST of the tracking API; MlflowError."""
        return self._json("POST", f"{API}{method}", msgspec.json.encode(body))

    def put_artifact(self, uri: str, name: str, content: bytes) -> None:
        """Stores a file below an artefact address of the server's own store."""
        self._call("PUT", f"{ARTIFACTS}/{quote(f'{_path_of(uri)}/{name}')}", content, "application/octet-stream")

    def artifact(self, uri: str, name: str) -> bytes:
        """A file below an artefact address."""
        return self._call("GET", f"{ARTIFACTS}/{quote(f'{_path_of(uri)}/{name}')}", None)

    def artifacts(self, uri: str) -> tuple[str, ...]:
        """The names of the files that lie at an artefact address, not of those further down."""
        found = self._json("GET", f"{ARTIFACTS}?{urlencode({'path': _path_of(uri)})}", None)
        return tuple(one["path"].rsplit("/", 1)[-1] for one in found.get("files", ()) if not one.get("is_dir"))

    def _json(self, verb: str, path: str, body: bytes | None) -> Any:  # noqa: ANN401 - JSON
        answer = self._call(verb, path, body)
        try:
            return msgspec.json.decode(answer) if answer.strip() else {}
        except msgspec.DecodeError:
            raise MlflowError(f"{self.shown} does not answer as an MLflow server does: is the address right?") from None

    def _call(self, verb: str, path: str, body: bytes | None, kind: str = "application/json") -> bytes:
        trouble: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                return self._once(verb, path, body, kind)
            except (OSError, http.client.HTTPException) as error:
                trouble = error
        why = getattr(trouble, "strerror", None) or str(trouble) or type(trouble).__name__
        raise MlflowError(f"the MLflow server {self.shown} cannot be reached ({str(why).lower()})")

    def _once(self, verb: str, path: str, body: bytes | None, kind: str) -> bytes:
        parts = urlsplit(self.address)
        secure = parts.scheme == "https"
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = make(parts.hostname or "", parts.port, timeout=WAIT_MAX_S)
        headers = {"content-type": kind, "accept": "*/*"}
        if self.authorization is not None:
            headers["authorization"] = self.authorization
        try:
            connection.request(verb, parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES_MAX + 1)
        finally:
            connection.close()
        if len(answer) > ANSWER_BYTES_MAX:
            raise MlflowError(f"{self.shown} sent more than {ANSWER_BYTES_MAX >> 20} MiB for one file: it is not read")
        if response.status >= 400:
            raise _refused(self.shown, response.status, answer)
        return answer


def server_of(environment: Mapping[str, str]) -> Server | None:
    """The server that MLflow's own variables name (MLFLOW_TRACKING_URI, and _TOKEN, or _USERNAME and _PASSWORD); None
    without one. MlflowError for an address that is not http or https."""
    address = environment.get("MLFLOW_TRACKING_URI", "").strip()
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MlflowError(
            "`MLFLOW_TRACKING_URI` must be the http(s) address of a tracking server, such as http://127.0.0.1:5000: "
            "folders and databases are reached through `mlflow server`"
        )
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    user = environment.get("MLFLOW_TRACKING_USERNAME") or parts.username
    if token:
        return Server(address, f"Bearer {token}")
    if user:
        pair = f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD') or parts.password or ''}"
        return Server(address, f"Basic {b64encode(pair.encode()).decode()}")
    return Server(address)


def _path_of(uri: str) -> str:
    """The path in the server's own artefact store; MlflowError for a store that it does not serve itself."""
    if not uri.startswith(SCHEME):
        where = uri.partition(":")[0]
        raise MlflowError(
            f"the artefacts lie at `{where}:`, which the MLflow server does not hand out: start it with "
            "`--serve-artifacts`, or download the file and import that"
        )
    return urlsplit(uri).path.strip("/")


def _refused(shown: str, status: int, answer: bytes) -> MlflowError:
    try:
        found = msgspec.json.decode(answer)
        code, said = str(found["error_code"]), str(found.get("message", ""))
    except (msgspec.DecodeError, KeyError, TypeError):
        code, said = "", ""
    if status in (401, 403):
        said = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return MlflowError(f"the MLflow server {shown} answered {status}{f' {code}' if code else ''}: {said[:300]}", code)
