"""The training of a model as an OpenLineage run."""

from __future__ import annotations

from small import card, playbook

from opportune.core.models import card_hash
from opportune.core.releases import compile_release, encode_manifest
from opportune.views.openlineage import openlineage_events


def test_a_trained_model_is_a_run_from_features_to_a_scorecard() -> None:
    release = compile_release(encode_manifest(playbook(), [card()]))
    events = openlineage_events(release, 1_764_000_000_000, "https://example.org/opportune")
    view, start, complete = events
    assert view["job"]["name"] == "fold.usage@1"
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"] == complete["run"]
    assert start["job"]["name"] == "train.small"
    assert [one["name"] for one in start["inputs"]] == ["features.usage@1"]
    (model,) = start["outputs"]
    assert model["name"] == "models.small"
    assert model["facets"]["version"]["datasetVersion"] == card_hash(card())
    again = openlineage_events(release, 1_764_000_000_000, "https://example.org/opportune")
    assert again == events
