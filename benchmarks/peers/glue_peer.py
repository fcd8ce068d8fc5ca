"""The "glue it yourself" stack as a peer: FastAPI, Feast, Cedar, an MLflow pyfunc and SQLite, in one endpoint.

Written as a competent engineer would in a day, with what each product offers for speed: policies, candidates and the
registry are read once; one batch call authorises all candidates; one `predict` scores them; the log is one insert in
WAL mode, durable before the answer. Run by `benchmarks.glue` in the peers' environment; imports nothing of Opportune.

Arguments: the problem as JSON, a folder, the online store as JSON, the port, `async` or `threads`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
import uuid
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

os.environ["FEAST_USAGE"] = "False"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import cedarpy  # type: ignore[import-not-found]
import fastapi  # type: ignore[import-not-found]
import feast  # type: ignore[import-not-found]
import mlflow  # type: ignore[import-not-found]
import numpy as np
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
import uvicorn
from fastapi.responses import JSONResponse  # type: ignore[import-not-found]
from feast.types import Float64, Int64, String  # type: ignore[import-not-found]
from glue_policies import BILLION, POLICY_IDS, cedar  # type: ignore[import-not-found]
from pydantic import BaseModel

TYPES = {"int": Int64, "double": Float64, "string": String}
NO_OFFER = "NO_OFFER"


class Who(BaseModel):
    """The customer asked about."""

    id: str


class Question(BaseModel):
    """The same question that Opportune is asked."""

    customer: Who
    moment: str
    context: dict[str, int] = {}


class Uplift(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The same additive tables that Opportune scores with, over one row of numbers per candidate.

    The last column is the offer's number, the others are features. All features have the same edges.
    """

    def __init__(self, card: dict[str, Any]) -> None:
        self.edges = np.array(card["edges"])
        self.bases = np.array(card["bases"])  # (offers, 3)
        self.parts = np.array(card["parts"])  # (offers, 3, features, bins)
        self.columns = np.arange(self.parts.shape[2])

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ANN401
        """(p_accept, uplift, standard error of the uplift) per row."""
        offers = model_input[:, -1].astype(np.int64)
        bins = (model_input[:, :-1, None] >= self.edges).sum(-1) + 1
        odds = self.bases[offers] + self.parts[offers[:, None], :, self.columns, bins].sum(1)
        offered, baseline = 1.0 / (1.0 + np.exp(-odds[:, 0])), 1.0 / (1.0 + np.exp(-odds[:, 1]))
        return np.stack((offered, offered - baseline, np.exp(odds[:, 2] / 2.0)), 1)


class Glue:
    """Everything that is opened once, and one decision."""

    def __init__(self, problem: dict[str, Any], folder: Path, online: dict[str, str]) -> None:
        self.candidates = problem["candidates"]
        self.ids = [one["id"] for one in self.candidates]
        self.margins = np.array([one["margin"] for one in self.candidates])
        self.costs = np.array([one["cost"] for one in self.candidates])
        self.offers = np.array([[float(one["offer_number"])] for one in self.candidates])
        self.scored = problem["card"]["features"]
        self.types = problem["types"]
        self.store, self.references = filled_store(problem, folder, online)
        self.policies = cedarpy.PolicySet.from_str(cedar())
        self.entities = cedarpy.Entities.from_json_str(json.dumps([entity_of(one) for one in self.candidates]))
        self.requests = [
            {
                "principal": {"type": "Customer", "id": "asked"},  # a third faster than names that Cedar must parse
                "action": {"type": "Action", "id": "offer"},
                "resource": {"type": "Candidate", "id": id_},
            }
            for id_ in self.ids
        ]
        mlflow.pyfunc.save_model(str(folder / "model"), python_model=Uplift(problem["card"]))
        self.model = mlflow.pyfunc.load_model(str(folder / "model"))
        self.database = str(folder / "decisions.db")
        self.local = threading.local()
        self.log().execute(
            "CREATE TABLE decisions (id TEXT PRIMARY KEY, at REAL, customer TEXT, offer TEXT, record TEXT)"
        )

    def log(self) -> sqlite3.Connection:
        """This thread's connection; durable as Opportune's: WAL, and a commit waits for the disk."""
        known: sqlite3.Connection | None = getattr(self.local, "log", None)
        if known is None:
            known = self.local.log = sqlite3.connect(self.database, isolation_level=None, timeout=30)
            known.execute("PRAGMA journal_mode=WAL")
            known.execute("PRAGMA synchronous=FULL")
        return known

    def features(self, customer: str) -> dict[str, Any]:
        """40 features and the consents of a customer, from the online store."""
        read = self.store.get_online_features(self.references, [{"customer": customer}]).to_dict()
        return {name: values[0] for name, values in read.items()}

    def judge(self, features: dict[str, Any]) -> Any:  # noqa: ANN401
        """What the policies say about every candidate, in one call."""
        attributes = {
            name: round(value * BILLION) if self.types.get(name) == "double" else value
            for name, value in features.items()
            if value is not None
        }
        asked = {"uid": {"type": "Customer", "id": "asked"}, "attrs": attributes, "parents": []}
        entities = self.entities.with_added_json_str(json.dumps([asked]))
        return cedarpy.is_authorized_batch(self.requests, self.policies, entities)

    def weigh(self, features: dict[str, Any]) -> Any:  # noqa: ANN401
        """What every candidate is worth, in one call of the model."""
        row = np.array([features[name] for name in self.scored], dtype=np.float64)
        rows = np.hstack((np.broadcast_to(row, (len(self.ids), len(row))), self.offers))
        predicted = self.model.predict(rows)
        return predicted, predicted[:, 1] * self.margins - self.costs

    def decide(self, customer: str, moment: str, context: dict[str, int]) -> dict[str, Any]:
        """One decision, logged before it is answered."""
        features = self.features(customer)
        verdicts = self.judge(features)
        allowed = [number for number, verdict in enumerate(verdicts) if verdict.allowed]
        predicted, values = self.weigh(features)
        best = max(allowed, key=values.__getitem__, default=None)
        if best is not None and values[best] <= 0.0:
            best = None
        denied = Counter(
            POLICY_IDS[reason]
            for verdict in verdicts
            if not verdict.allowed
            for reason in verdict.diagnostics.reasons
        )
        chosen = NO_OFFER if best is None else self.ids[best]
        answer = {
            "decision_id": str(uuid.uuid4()),
            "customer": customer,
            "moment": moment,
            "offer": chosen,
            "value": 0.0 if best is None else round(float(values[best]), 4),
            "p_accept": None if best is None else float(predicted[best, 0]),
            "reasons": dict(denied),
        }
        record = {
            **answer,
            "context": context,
            "features": features,
            "allowed": [self.ids[number] for number in allowed],
            "values": [round(float(values[number]), 4) for number in allowed],
        }
        self.log().execute(
            "INSERT INTO decisions VALUES (?, ?, ?, ?, ?)",
            (answer["decision_id"], time.time(), customer, chosen, json.dumps(record)),
        )
        return answer

    def check(self, customer: str) -> dict[str, Any]:
        """What is allowed and what it is worth: compared with Opportune's record before anything is timed."""
        features = self.features(customer)
        allowed = [number for number, verdict in enumerate(self.judge(features)) if verdict.allowed]
        values = self.weigh(features)[1]
        return {self.ids[number]: float(values[number]) for number in allowed}


def entity_of(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate as a Cedar entity."""
    attributes = {name: candidate[name] for name in ("price", "tier", "family", "kind", "channel")}
    return {"uid": {"type": "Candidate", "id": candidate["id"]}, "attrs": attributes, "parents": []}


def filled_store(
    problem: dict[str, Any], folder: Path, online: dict[str, str]
) -> tuple[Any, list[str]]:
    """A Feast store whose registry is read once and kept, as a warm server has it, with every customer's values."""
    store = feast.FeatureStore(
        config=feast.RepoConfig(
            project="glue", provider="local", online_store=online, offline_store={"type": "file"},
            registry={"registry_type": "file", "path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
            entity_key_serialization_version=3,
        )
    )  # fmt: skip
    key = feast.Entity(name="customer", join_keys=["customer"], value_type=feast.ValueType.STRING)
    schema = [feast.Field(name=name, dtype=TYPES[type_]) for name, type_ in problem["types"].items()]
    source = feast.FileSource(name="source", path=str(folder / "none.parquet"), timestamp_field="at")
    view = feast.FeatureView(
        name="customer_view", entities=[key], schema=[*schema, feast.Field(name="customer", dtype=String)],
        source=source,
    )  # fmt: skip
    store.apply([key, source, view])
    frame = pd.DataFrame(problem["rows"], columns=["customer", *problem["types"]])
    frame["at"] = datetime.now(timezone.utc)  # noqa: UP017 - Feast's pandas wants this spelling on every Python
    store.write_to_online_store("customer_view", df=frame)
    return store, [f"customer_view:{name}" for name in problem["types"]]


def application(glue: Glue, *, threads: bool) -> fastapi.FastAPI:
    """The endpoint: in the event loop itself, or in FastAPI's threads."""
    app = fastapi.FastAPI()

    if threads:

        @app.post("/v1/decisions")  # type: ignore[untyped-decorator]
        def decide(question: Question) -> JSONResponse:
            return JSONResponse(glue.decide(question.customer.id, question.moment, question.context))

    else:

        @app.post("/v1/decisions")  # type: ignore[untyped-decorator]
        async def decide_here(question: Question) -> JSONResponse:
            return JSONResponse(glue.decide(question.customer.id, question.moment, question.context))

    @app.get("/check/{customer}")  # type: ignore[untyped-decorator]
    def check(customer: str) -> JSONResponse:
        return JSONResponse(glue.check(customer))

    return app


def main() -> None:
    problem = json.loads(Path(sys.argv[1]).read_text())
    folder, online, port = Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
    folder.mkdir(parents=True)
    glue = Glue(problem, folder, online)
    versions = {one.__name__: one.__version__ for one in (fastapi, feast, mlflow, uvicorn)}
    print(json.dumps(versions), flush=True)
    app = application(glue, threads=sys.argv[5] == "threads")
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)


main()
