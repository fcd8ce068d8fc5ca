"""Contacts: how often, and at which hours, a customer's attention may be used, and what everybody together may use."""

from opportune.core.contacts.checks import channel_limit_problems, limit_problems
from opportune.core.contacts.kept import CONTACTS_KEPT, holds_of, with_contacts, with_state
from opportune.core.contacts.limits import (
    LimitRule,
    SeenContact,
    compile_limits,
    counted,
    counting,
    keep_ms_of,
    over_limits,
    rule_id,
)
from opportune.core.contacts.quiet import (
    QuietRule,
    compile_quiet_hours,
    in_quiet_hours,
    local_time,
    quiet_from_ms,
    zone_of,
)
from opportune.core.contacts.tallies import Tally, hold_end_ms, holding, settled, used_at
from opportune.core.contacts.volumes import (
    MONEY_UNITS,
    TallyOf,
    VolumeRule,
    compile_volumes,
    out_of_room,
    room_after,
    room_of,
    spend_of,
)
from opportune.core.contacts.words import limit_words, period_words

__all__ = [
    "CONTACTS_KEPT",
    "MONEY_UNITS",
    "LimitRule",
    "QuietRule",
    "SeenContact",
    "Tally",
    "TallyOf",
    "VolumeRule",
    "channel_limit_problems",
    "compile_limits",
    "compile_quiet_hours",
    "compile_volumes",
    "counted",
    "counting",
    "hold_end_ms",
    "holding",
    "holds_of",
    "in_quiet_hours",
    "keep_ms_of",
    "limit_problems",
    "limit_words",
    "local_time",
    "out_of_room",
    "over_limits",
    "period_words",
    "quiet_from_ms",
    "room_after",
    "room_of",
    "rule_id",
    "settled",
    "spend_of",
    "used_at",
    "with_contacts",
    "with_state",
    "zone_of",
]
