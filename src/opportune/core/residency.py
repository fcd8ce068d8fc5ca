"""Where a customer lives: names of regions, what names another one, and the words for its refusal."""

from __future__ import annotations

import re

from opportune.core.signals import Problem

UNTOLD = False
"""The region of a draft whose region could not be worked out: no region's name, so every region refuses it."""

UNLISTED = "unlisted"
"""Stands in the ledger for a name that is no region of the playbook: it may be anything, even personal."""

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_KEY = re.compile(r"(?:opp|wk)_([a-z][a-z0-9-]*)_[A-Za-z0-9_-]+")


def is_region_name(name: str) -> bool:
    """Small letters, digits and `-`, beginning with a letter: also the name of a folder on any system."""
    return _NAME.fullmatch(name) is not None


def region_of_key(key: str) -> str | None:
    """The region a key says it belongs to (`opp_us_…`, `wk_us_…`); None for a key that says nothing."""
    found = _KEY.fullmatch(key)
    return None if found is None else found.group(1)


def worked_out(value: object, failed: bool) -> object:
    """What an expression for the region gave, as a draft keeps it: `""` (no value) means the home region."""
    if failed:
        return UNTOLD
    return "" if value is None else value


def elsewhere(said: object, here: str, home: str) -> str | None:
    """The region that is named when it is not this one, `""` when none could be told; None for this one.

    `said` is None where nobody spoke of regions: then whoever asked this region means it.
    """
    if said is None:
        return None
    named = home if said == "" else said
    if named == here:
        return None
    return named if isinstance(named, str) else ""


def refusal(asked: str, here: str) -> str:
    """The sentence for whoever asked the wrong region; what is no possible name is not repeated."""
    shown = f"`{asked}`" if is_region_name(asked) and len(asked) <= 32 else "a region that cannot be told"
    fix = f"`opportune serve --region {asked}`" if shown[0] == "`" else "name it as the playbook's `regions` do"
    return f"this belongs to {shown}, and `{here}` answered: send it to the process that serves its region ({fix})"


def wrong_region(asked: str, here: str) -> Problem:
    """The problem of a signal that was sent to the wrong region."""
    return Problem("wrong_region", "region", refusal(asked, here))
