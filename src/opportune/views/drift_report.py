"""A report on drift as one HTML file that needs nothing else: findings, heat maps, and shares then and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from opportune.core.drift import Report
from opportune.core.models import Scorecard
from opportune.core.models.populations import Bins
from opportune.core.signals import format_time
from opportune.views.drift import HeatCell, finding_of, heat_map

FINDINGS_MAX = 200
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2430;margin:2rem auto;max-width:1100px;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
th,td{padding:.25rem .6rem;text-align:left;border:1px solid #d5dae1}
th{background:#f3f5f8;font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
td.found{outline:2px solid #8a1c1c;outline-offset:-2px;font-weight:700}.sub{color:#566273}
.bar{display:inline-block;height:.7rem;background:#5a7fa8;vertical-align:middle}.bar.now{background:#b2622a}
.wide{overflow-x:auto}caption{text-align:left;font-weight:600;padding:.3rem 0}
"""


def html_report(reports: Sequence[Report], cards: Mapping[str, Scorecard], made_ms: int) -> str:
    """All reports of some models as one page. `cards` are by their hash; without its card a model has no shares."""
    models = sorted({one.model for one in reports})
    body = [
        f"<h1>Drift</h1><p class='sub'>made {format_time(made_ms)}; {len(reports)} windows. A size is in parts of its "
        "limit: from 1.0 on it matters. Bold with a mark: found, with the certainty the policy asks for.</p>"
    ]
    for model in models:
        mine = [one for one in reports if one.model == model]
        body += [f"<h2>{escape(model)}</h2>", _findings(mine), _heat(mine, model), _shares(mine, cards)]
    if not models:
        body.append("<p>Nothing was looked at yet.</p>")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Drift</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _findings(reports: Sequence[Report]) -> str:
    found = [(report, finding_of(one)) for report in reports for one in report.found][:FINDINGS_MAX]
    if not found:
        return "<p>Nothing was found.</p>"
    rows = "".join(
        f"<tr><td>{format_time(report.to_ms)[:16]}</td><td>{escape(one.words)}</td>"
        f"<td class='n'>{one.of_limit:.2f}</td><td class='n'>{one.chance:.1e}</td></tr>"
        for report, one in found
    )
    head = "<tr><th>window to</th><th>what changed</th><th>of its limit</th><th>by accident</th></tr>"
    return f"<table><caption>What was found</caption><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _heat(reports: Sequence[Report], model: str) -> str:
    heat = heat_map(reports, model)
    head = "".join(f"<th>{day[5:]}</th>" for day in heat.days)
    rows = "".join(
        f"<tr><th>{escape(row.what)} <span class='sub'>{row.kind}</span></th>{''.join(map(_cell, row.cells))}</tr>"
        for row in heat.rows
    )
    return (
        f"<div class='wide'><table><caption>By day, everybody</caption><thead><tr><th>what</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: HeatCell) -> str:
    if cell.of_limit is None:
        return "<td class='sub' title='not looked at'>–</td>"
    strength = min(cell.of_limit / 2.0, 1.0) * 0.55
    shown = f"▲ {cell.of_limit:.1f}" if cell.found else f"{cell.of_limit:.1f}"
    return (
        f"<td class='n{' found' if cell.found else ''}' style='background:rgba(178,98,42,{strength:.2f})' "
        f"title='{escape(cell.words, quote=True)}'>{shown}</td>"
    )


def _shares(reports: Sequence[Report], cards: Mapping[str, Scorecard]) -> str:
    """Features of the newest window of inputs beside training, bin by bin."""
    newest = next((one for one in reports if one.series == "inputs" and one.population is not None), None)
    card = None if newest is None else cards.get(newest.card)
    if newest is None or newest.population is None or card is None or card.training.snapshot is None:
        return ""
    parts = []
    sides = zip(card.features, card.training.snapshot.whole.bins, newest.population.bins, strict=True)
    for table, before, now in sides:
        rows = "".join(
            f"<tr><th>{escape(table.bin_label(place))}</th>{_bar(before, place, '')}{_bar(now, place, ' now')}</tr>"
            for place in range(table.bin_count)
        )
        head = "<tr><th>value</th><th>training</th><th>newest window</th></tr>"
        caption = f"<caption>{escape(table.name)}</caption>"
        parts.append(f"<table>{caption}<thead>{head}</thead><tbody>{rows}</tbody></table>")
    return f"<h3>Features, then and now</h3>{''.join(parts)}"


def _bar(bins: Bins, place: int, which: str) -> str:
    share = bins.counts[place] / max(bins.rows, 1)
    return f"<td><span class='bar{which}' style='width:{share * 160:.0f}px'></span> {share:.1%}</td>"
