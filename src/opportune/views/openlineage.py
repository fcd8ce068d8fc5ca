"""Lineage of views, models and training sets as OpenLineage events (spec 2-0-2, openlineage.io/spec/2-0-2).

A view is a job that streams signals into a dataset of features; a training set and a trained model are runs of jobs
with a beginning and an end. Names hold no person: datasets are signal types, views, files and models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from opportune.core.features import FeatureView
from opportune.core.models import Scorecard, card_hash
from opportune.core.releases import Release
from opportune.core.signals import SignalContract, format_time
from opportune.views.features import how_made

SPEC: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FACETS: Final = "https://openlineage.io/spec/facets/"
_SCHEMA: Final = "1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
_COLUMNS: Final = "1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
_OWNER: Final = "1-0-1/OwnershipJobFacet.json#/$defs/OwnershipJobFacet"
_ABOUT: Final = "1-1-0/DocumentationJobFacet.json#/$defs/DocumentationJobFacet"
_KIND: Final = "2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"
_VERSION: Final = "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"

Event = dict[str, Any]


def openlineage_events(
    release: Release, made_ms: int, producer: str, datasets: Sequence[tuple[str, int, Mapping[str, Any]]] = ()
) -> list[Event]:
    """A job event per view, and START and COMPLETE of each model's training and of each training set.

    `made_ms` is when the release was made; `datasets` are (file, when it was written in ms, its lineage document).
    `producer` is the URI of this product with its version.
    """
    writer = _Writer(release, producer)
    events = [writer.view_event(view, made_ms) for view in release.playbook.views]
    for card in release.cards:
        events += writer.training_events(card, made_ms)
    for file, at_ms, lineage in datasets:
        events += writer.dataset_events(file, at_ms, lineage)
    return events


class _Writer:
    """Events of one release; the namespace is project and region."""

    def __init__(self, release: Release, producer: str) -> None:
        self._release = release
        self._producer = producer
        self._namespace = f"opportune://{release.playbook.app.project}/{release.region}"

    def view_event(self, view: FeatureView, at_ms: int) -> Event:
        """The job of one view: signals, and views it derives from, in; a dataset of features out."""
        features = [self._release.views.features[spec.id] for spec in view.features]
        signals = sorted({signal for one in features for signal in one.signals})
        above = {self._release.views.features[name] for one in features for name in one.inputs}
        views = sorted({f"{one.view}@{one.version}" for one in above} - {_view_name(view)})
        facets = {
            "ownership": self._facet(_OWNER, owners=[{"name": view.owner, "type": "MAINTAINER"}]),
            "jobType": self._facet(_KIND, processingType="STREAMING", integration="OPPORTUNE", jobType="FEATURE_VIEW"),
        }
        if view.description:
            facets["documentation"] = self._facet(_ABOUT, description=view.description)
        job = {"namespace": self._namespace, "name": f"fold.{_view_name(view)}", "facets": facets}
        inputs = [self._signals(signal) for signal in signals] + [self._dataset(f"features.{one}") for one in views]
        return self._event("JobEvent", at_ms, job=job, inputs=inputs, outputs=[self._features(view)])

    def training_events(self, card: Scorecard, at_ms: int) -> list[Event]:
        """The run that trained a model: features it scores with in, the scorecard out. Its end is that of the release
        it came into: when it ran is not kept."""
        names = [table.name for table in card.features]
        spec = next((one for one in self._release.playbook.models if one.model == card.model), None)
        inputs = self._views_of(names)
        inputs += [self._signals(one) for one in ([] if spec is None else sorted({spec.assigned, spec.converted}))]
        version = card_hash(card)
        output = self._dataset(
            f"models.{card.model}", version=self._facet(_VERSION, datasetVersion=version),
            schema=self._facet(_SCHEMA, fields=[{"name": heads.offer, "type": "scorecard"} for heads in card.offers]),
        )  # fmt: skip
        return self._run(f"train.{card.model}", f"train/{version}", at_ms, card.owner, inputs, [output])

    def dataset_events(self, file: str, at_ms: int, lineage: Mapping[str, Any]) -> list[Event]:
        """The run that wrote a training set; its features and views are named by the document beside the file."""
        features: Mapping[str, Mapping[str, Any]] = lineage.get("features", {})
        fields = [{"name": name, "type": one["type"]} for name, one in features.items()]
        inputs = [self._dataset(f"features.{one['view']}@{one['version']}") for one in features.values()]
        inputs += [self._signals(signal) for signal in lineage.get("label_signals", ())]
        output = self._dataset(file, schema=self._facet(_SCHEMA, fields=fields))
        once = list({one["name"]: one for one in inputs}.values())
        return self._run("features.dataset", f"dataset/{file}/{at_ms}", at_ms, "", once, [output])

    def _run(
        self, name: str, identity: str, at_ms: int, owner: str, inputs: list[Event], outputs: list[Event]
    ) -> list[Event]:
        facets = {"jobType": self._facet(_KIND, processingType="BATCH", integration="OPPORTUNE", jobType="JOB")}
        if owner:
            facets["ownership"] = self._facet(_OWNER, owners=[{"name": owner, "type": "MAINTAINER"}])
        job = {"namespace": self._namespace, "name": name, "facets": facets}
        run = {"runId": str(uuid5(NAMESPACE_URL, f"{self._namespace}/{identity}"))}
        return [
            self._event("RunEvent", at_ms, eventType=kind, run=run, job=job, inputs=inputs, outputs=outputs)
            for kind in ("START", "COMPLETE")
        ]

    def _views_of(self, names: Sequence[str]) -> list[Event]:
        known = self._release.views.features
        views = {f"{known[name].view}@{known[name].version}" for name in names if name in known}
        return [self._dataset(f"features.{view}") for view in sorted(views)]

    def _features(self, view: FeatureView) -> Event:
        columns = {spec.id: self._column(spec.id) for spec in view.features}
        fields = [
            {"name": spec.id, "type": self._release.views.features[spec.id].type,
             **({"description": spec.description} if spec.description else {})}
            for spec in view.features
        ]  # fmt: skip
        return self._dataset(
            f"features.{_view_name(view)}",
            version=self._facet(_VERSION, datasetVersion=str(view.version)),
            schema=self._facet(_SCHEMA, fields=fields),
            columnLineage=self._facet(_COLUMNS, fields=columns),
        )

    def _column(self, name: str) -> Event:
        """What one feature is made of: fields of signals it takes values from, features it is derived from."""
        feature = self._release.views.features[name]
        specs = {spec.id: spec for view in self._release.playbook.views for spec in view.features}
        how = how_made(specs.get(name), feature)
        kind = "TRANSFORMATION" if feature.inputs else "AGGREGATION"
        made = [{"type": "DIRECT", "subtype": kind, "description": how}]
        counted = [{"type": "INDIRECT", "subtype": "AGGREGATION", "description": how}]
        found = [
            {"namespace": self._namespace, "name": f"signals.{signal}", "field": field or "id",
             "transformations": made if field else counted}
            for signal, field in feature.fields
        ]  # fmt: skip
        for other in (self._release.views.features[one] for one in feature.inputs):
            where = f"features.{other.view}@{other.version}"
            found.append({"namespace": self._namespace, "name": where, "field": other.name, "transformations": made})
        return {"inputFields": found}

    def _signals(self, signal: str) -> Event:
        versions = [one for (name, _), one in sorted(self._release.contracts.items()) if name == signal]
        contract = versions[-1].contract if versions else None
        schema = self._facet(_SCHEMA, fields=list(_fields(contract)))
        if contract is None:
            return self._dataset(f"signals.{signal}")
        version = self._facet(_VERSION, datasetVersion=str(contract.version))
        return self._dataset(f"signals.{signal}", schema=schema, version=version)

    def _dataset(self, name: str, **facets: Event) -> Event:
        return {"namespace": self._namespace, "name": name, **({"facets": facets} if facets else {})}

    def _facet(self, schema: str, **content: Any) -> Event:  # noqa: ANN401 - JSON
        return {"_producer": self._producer, "_schemaURL": FACETS + schema, **content}

    def _event(self, kind: str, at_ms: int, **content: Any) -> Event:  # noqa: ANN401 - JSON
        return {
            "eventTime": format_time(at_ms), "producer": self._producer, "schemaURL": SPEC + kind, **content,
        }  # fmt: skip


def _view_name(view: FeatureView) -> str:
    return f"{view.view}@{view.version}"


def _fields(contract: SignalContract | None) -> Iterator[Event]:
    properties = {} if contract is None else contract.schema.get("properties", {})
    for name, schema in properties.items():
        type_ = schema.get("type") if isinstance(schema, Mapping) else None
        yield {"name": name, **({"type": type_} if isinstance(type_, str) else {})}
