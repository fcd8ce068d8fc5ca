"""A small sound playbook folder, written out for tests to break."""

from pathlib import Path

APP = """\
project: shop
timezone: Europe/Berlin
holdout: {share: 0.1, salt: s}
offer_attributes: {strategic: bool, seats: int, score: double}
moments:
  - moment: usage.limit_reached
    title: Limit reached
    channels: [in_app]
    context: {limit: string}
"""
OFFERS = """\
# What we sell.
offers:
  - offer: seats_10
    title: Ten more seats
    kind: seats
    price: {amount: 120}
    margin: 1150
    owner: growth
    requires: "seat_ratio >= 0.6"
    prior: {p_accept: 0.1, uplift: 0.05}
    attributes: {strategic: true, seats: 10, score: 1}
    treatments:
      in_app: {headline: Ten more}
  - offer: seats_25
    title: More seats
    kind: seats
    price: {amount: 300.5, per: year}
    margin: 2900.0
    owner: growth
    prior: {p_accept: 0.1, uplift: 0.05}
    treatments:
      in_app:
        headline: NO
"""
CHANNELS = """\
channels:
  - channel: in_app
    title: Banner
    kind: pull
    grant_ttl: 15m
    quiet_hours: {from: "20:00", to: "08:00"}
    limits:
      - {limit: weekly, at_most: 2, per: 7d}
"""
POLICIES = """\
policies:
  - id: permit.all
    effect: permit
    class: commercial
    when: |
      seat_ratio > 0.5
        && nothing
    reason: everybody
    owner: growth
  - id: consent.marketing
    effect: forbid
    class: consent
    when: "seat_ratio > 'a'"
    reason: no consent
    owner: legal
"""
FEATURES = """\
views:
  - view: seats
    version: 1
    entity: account
    owner: growth
    purposes: [marketing]
    features:
      - {id: seats_used, from: seats.counted, value: data.used, aggregate: last, type: int}
      - {id: seat_ratio, derive: double(seats_used) / 10.0, type: double}
"""
SCHEMAS = """\
schemas:
  - signal: seats.counted
    version: 1
    owner: growth
    about: account
    schema:
      type: object
      required: [used]
      additionalProperties: false
      properties:
        used: {type: integer, minimum: 0}
"""
SOURCES = """\
sources:
  - source: billing
    title: Billing
    owner: growth
    tables: {counts: counts.csv}
    signals:
      - {rows: counts, type: seats.counted, id: row.id, time: row.at, account: row.account, data: {used: row.used}}
"""
MODELS = """\
models:
  - model: expansion
    owner: data
    features: [seat_ratio]
"""
SCENARIOS = """\
scenarios:
  - scenario: a full team
    moment: usage.limit_reached
    channels: [in_app]
    at: 2026-11-02T10:00:00Z
    features: {seat_ratio: 0.9}
    context: {limit: seats}
    expect: {offer: seats_10, rejected: {seats_25@in_app: permit.all}}
"""
FILES = {
    "opportune.yaml": APP,
    "offers/seats.yaml": OFFERS,
    "channels/channels.yaml": CHANNELS,
    "policies/all.yaml": POLICIES,
    "features/account.yaml": FEATURES,
    "schemas/seats.yaml": SCHEMAS,
    "sources/billing.yaml": SOURCES,
    "models/expansion.yml": MODELS,
    "scenarios/all.yaml": SCENARIOS,
}


def write(folder: Path, **changes: str | None) -> Path:
    """The sound playbook in `folder`; `offers=...` replaces the file of that folder, None leaves it out."""
    for name, content in FILES.items():
        kind = name.split("/")[0].removesuffix(".yaml")
        text = changes.get(kind, content)
        if text is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder
