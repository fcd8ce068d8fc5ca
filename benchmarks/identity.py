"""Who is who: probabilistic linking of 50,000 records with known truth, and exact linking through the real ingest.

Run: `python -m benchmarks.identity [--records 50000] [--people 10000] [--json]`.
"""

from __future__ import annotations

import argparse
import gc
import json
import string
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from benchmarks import synthetic
from opportune.adapters.splink import SplinkLinker
from opportune.core.identity import normalised
from opportune.core.linking import LinkRecord, plain
from opportune.core.playbook import Identity, Playbook
from opportune.core.signals import Draft, SignalContract
from opportune.flows.region import Region
from opportune.wiring import open_region

SEED = 20_261_124
THRESHOLDS = (0.5, 0.9, 0.99)
FIRST = {
    "Alexander": ("Alex", "Sascha"), "Elisabeth": ("Lisa", "Betty", "Elli"), "Katharina": ("Kathrin", "Kati"),
    "Michael": ("Mike", "Michi"), "Johannes": ("Hannes", "Jo"), "Margarete": ("Greta", "Gretel"),
    "Robert": ("Rob", "Bob"),
    "William": ("Bill", "Will"), "Christine": ("Tina", "Chris"), "Matthias": ("Matze",), "Thomas": ("Tom",),
    "Daniel": ("Dan",), "Susanne": ("Susi",), "Andreas": ("Andi",), "Stefanie": ("Steffi",), "Maximilian": ("Max",),
    "Anna": (), "Peter": (), "Maria": (), "Julia": (), "Lukas": (), "Emma": (), "Paul": (), "Laura": (), "Felix": (),
    "Sarah": (), "Jonas": (), "Lea": (), "David": (), "Nina": (), "Tim": (), "Eva": (), "Jan": (), "Clara": (),
    "Erik": (), "Ida": (), "Omar": (), "Aylin": (), "Yusuf": (), "Sofia": (), "Marco": (), "Giulia": (), "Piotr": (),
    "Agnieszka": ("Aga",), "Pierre": (), "Camille": (), "Luis": (), "Carmen": (), "Henrik": (), "Astrid": (),
}  # fmt: skip
ROOTS = (
    "Mey", "Schul", "Wag", "Beck", "Hoff", "Klein", "Berg", "Stein", "Lang", "Kra", "Neu", "Rich", "Vog", "Sey",
    "Brand",
    "Win", "Som", "Kes", "Rot", "Fal", "Hart", "Linde", "Mar", "Nov", "Oster", "Pet", "Quan", "Reich", "Sten", "Tor",
)  # fmt: skip
ENDS = ("er", "mann", "ner", "berg", "feld", "ke", "sen", "ling", "ski", "hardt", "bach", "ers", "mer", "ig", "haus")
STREETS = ("Hauptstr.", "Bahnhofstr.", "Gartenweg", "Lindenallee", "Schulstr.", "Bergweg", "Am Markt", "Ringstr.")
CITIES = ("Berlin", "Hamburg", "Wien", "Graz", "Basel", "Leipzig", "Bremen", "Kassel", "Linz", "Bern", "Ulm", "Trier")
HOSTS = ("gmail.com", "gmx.de", "web.de", "outlook.com", "icloud.com", "posteo.de")
SYSTEMS = ("app", "crm", "shop", "support")


@dataclass(frozen=True)
class Truth:
    """One human being, as they are."""

    first: str
    last: str
    born: date
    email: str
    work_email: str
    phone: str
    mobile: str
    street: str
    postcode: str
    city: str
    company: str


def humans(chance: Random, count: int) -> list[Truth]:
    """People with common and rare names; three in ten live with somebody of the same name, address and phone."""
    found: list[Truth] = []
    names = list(FIRST)
    lasts = [root + end for root in ROOTS for end in ENDS]
    chance.shuffle(lasts)
    companies = [f"{lasts[at % len(lasts)]} {kind}" for at, kind in enumerate(("GmbH", "AG", "Ltd", "KG") * 400)]
    common, usual = ([1 / (rank + 8) for rank in range(len(each))] for each in (names, lasts))
    taken: set[str] = set()
    while len(found) < count:
        first, last = chance.choices(names, common)[0], chance.choices(lasts, usual)[0]
        one = _human(chance, first, last, chance.choice(companies), taken)
        found.append(one)
        if chance.random() < 0.18 and len(found) < count:
            other = _human(chance, chance.choice(names), last, chance.choice(companies), taken)
            shared = one.email if chance.random() < 0.15 else other.email
            found.append(replace(
                other, email=shared, phone=one.phone, street=one.street, postcode=one.postcode, city=one.city
            ))  # fmt: skip
    return found


def _human(chance: Random, first: str, last: str, company: str, taken: set[str]) -> Truth:
    born = date(1945, 1, 1) + timedelta(days=chance.randrange(60 * 365))
    # Most addresses tell a name; a fifth tells nothing.
    number = "" if chance.random() < 0.3 else str(chance.randrange(1, 999))
    local = f"{first}.{last}{number}" if chance.random() < 0.8 else _word(chance, 8) + number
    email = f"{local}@{chance.choice(HOSTS)}".lower()
    while email in taken:
        email = f"{chance.randrange(10)}{email}"
    taken.add(email)
    site = (plain(company) or "x").split()[0]
    return Truth(
        first, last, born, email, f"{first[0]}.{last}@{site}.com".lower(),
        f"0{chance.randrange(30, 99)}{chance.randrange(10**6, 10**7)}", f"017{chance.randrange(10**8, 10**9 - 1)}",
        f"{chance.choice(STREETS)} {chance.randrange(1, 140)}", f"{chance.randrange(10_000, 10_600)}",
        chance.choice(CITIES), company,
    )  # fmt: skip


def recorded(chance: Random, count: int) -> Iterator[tuple[LinkRecord, int]]:
    """(record, whose): one to four records of each human being, with what goes wrong when people are written down."""
    everybody = humans(chance, count)
    given = 0
    for number, human in enumerate(everybody):
        for _ in range(chance.choices((1, 2, 3, 4), (45, 35, 15, 5))[0]):
            if given == count:
                return
            yield _written(chance, human, f"r{given:06d}"), number
            given += 1


def _written(chance: Random, human: Truth, id_: str) -> LinkRecord:
    odds = chance.random
    first = chance.choice(FIRST[human.first] or (human.first,)) if odds() < 0.10 else human.first
    first = first[0] if odds() < 0.02 else _typo(chance, first, 0.04)
    last = human.last + "-" + chance.choice(ROOTS) + "er" if odds() < 0.02 else _typo(chance, human.last, 0.05)
    if odds() < 0.01:
        first, last = last, first
    born: str | None = human.born.isoformat()
    if odds() < 0.45:
        born = None
    elif odds() < 0.02 and human.born.day <= 12:
        born = f"{human.born.year}-{human.born.day:02d}-{human.born.month:02d}"
    elif born is not None and odds() < 0.02:
        born = born[:-1] + str(chance.randrange(10))
    email = None if odds() < 0.2 else human.work_email if odds() < 0.25 else human.email
    phone = None if odds() < 0.4 else human.mobile if odds() < 0.5 else human.phone
    moved = odds() < 0.12
    street, postcode, city = human.street, human.postcode, human.city
    if moved:
        street = f"{chance.choice(STREETS)} {chance.randrange(1, 140)}"
        postcode, city = f"{chance.randrange(10_000, 10_600)}", chance.choice(CITIES)
    if odds() < 0.3:
        street = street.replace("str.", "strasse")
    lives = odds() < 0.65
    return LinkRecord(
        id_, plain(first), plain(last), born,
        plain(_typo(chance, human.company, 0.05)) if odds() < 0.4 else None,
        plain(_typo(chance, street, 0.04)) if lives else None, postcode if lives else None,
        plain(city) if lives or odds() < 0.3 else None, None,
        normalised("email", _typo(chance, email, 0.01)) if email else None,
        normalised("phone", _formatted(chance, phone), "DE") if phone else None,
    )  # fmt: skip


def _formatted(chance: Random, phone: str) -> str:
    return chance.choice((phone, f"+49 {phone[1:]}", f"0049-{phone[1:4]}/{phone[4:]}", f"({phone[:4]}) {phone[4:]}"))


def _typo(chance: Random, text: str, odds: float) -> str:
    if chance.random() >= odds or len(text) < 3:
        return text
    at = chance.randrange(1, len(text) - 1)
    return chance.choice((
        text[:at] + text[at + 1] + text[at] + text[at + 2 :], text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:], text[:at] + chance.choice(string.ascii_lowercase) + text[at + 1 :],
    ))  # fmt: skip


def _word(chance: Random, length: int) -> str:
    return "".join(chance.choice("aeioubdfghklmnprst") for _ in range(length))


def probable(count: int) -> dict[str, Any]:
    """Precision, recall and F1 of the pairs proposed, at several probabilities."""
    chance = Random(SEED)
    drawn = list(recorded(chance, count))
    whose = {record.id: number for record, number in drawn}
    pairs_true = sum(size * (size - 1) // 2 for size in Counter(whose.values()).values())
    records = [record for record, _ in drawn]
    chance.shuffle(records)
    began_s = time.perf_counter()
    found = [(pair.probability, whose[pair.one] == whose[pair.other]) for pair in SplinkLinker().pairs(records, 0.5)]
    seconds = time.perf_counter() - began_s
    measured = {}
    for least in THRESHOLDS:
        proposed = [right for probability, right in found if probability >= least]
        right = sum(proposed)
        precision, recall = right / max(1, len(proposed)), right / pairs_true
        measured[str(least)] = {
            "pairs": len(proposed), "precision": round(precision, 4), "recall": round(recall, 4),
            "f1": round(2 * precision * recall / max(1e-9, precision + recall), 4),
        }  # fmt: skip
    exact = _exact_pairs(drawn)
    return {
        "records": count, "people": len(set(whose.values())), "true_pairs": pairs_true, "seconds": round(seconds, 1),
        "by_probability": measured,
        "same_email_or_phone_alone": {
            "precision": round(exact[0] / max(1, exact[1]), 4), "recall": round(exact[0] / pairs_true, 4),
        },
    }  # fmt: skip


def _exact_pairs(drawn: Sequence[tuple[LinkRecord, int]]) -> tuple[int, int]:
    """(right, all) pairs that share an e-mail address or phone number: what linking without a model would do."""
    groups: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for record, number in drawn:
        for kind in ("email", "phone"):
            if (value := getattr(record, kind)) is not None:
                groups.setdefault((kind, value), []).append((record.id, number))
    pairs = {
        (one[0], other[0]): one[1] == other[1]
        for group in groups.values()
        for at, one in enumerate(group)
        for other in group[at + 1 :]
    }
    return sum(pairs.values()), len(pairs)


def linked_playbook() -> Playbook:
    text = {"type": "string"}
    fields = {"email": text, "phone": text, "crm": text, "shop": text}
    contract = SignalContract(
        signal="person.updated", owner="bench", about="person", schema={"type": "object", "properties": fields},
        identifiers={"email": "email", "phone": "phone", "crm": "external:crm", "shop": "external:shop"},
    )  # fmt: skip
    identity = Identity(link_on=("email", "phone", "external"), phone_region="DE")
    book = synthetic.playbook()
    app = msgspec.structs.replace(book.app, identity=identity)
    return msgspec.structs.replace(book, app=app, contracts=(*book.contracts, contract))


def exact(people: int) -> dict[str, Any]:
    """Each human being in four systems that share identifiers pairwise only: all must become one, nobody else."""
    chance = Random(SEED)
    drafts: list[Draft] = []
    for number in range(people):
        email, phone, key = f"user{number}@example.com", f"017{10**8 + number}", f"K-{number}"
        said = {
            "app": {"email": email}, "crm": {"email": f" {email.upper()} ", "crm": key},
            "shop": {"crm": f" {key} ", "phone": _formatted(chance, phone)},
            "support": {"phone": _formatted(chance, phone)},
        }  # fmt: skip
        drafts += [
            Draft(system, f"{system}-{number}", "person.updated", None, f"{system}:{number}", data=data)
            for system, data in said.items()
        ]
    chance.shuffle(drafts)
    with tempfile.TemporaryDirectory() as scratch:
        region = open_region(Path(scratch), "bench", "eu")
        try:
            region.promote(region.release(linked_playbook()).hash, "bench", "bench")
            began_s = time.perf_counter()
            for start in range(0, len(drafts), 500):
                receipts = region.ingest.run(drafts[start : start + 500])
                assert all(receipt.status == "accepted" for receipt in receipts), receipts[0]
            seconds = time.perf_counter() - began_s
            return {"people": people, "records": len(drafts), "seconds": round(seconds, 1),
                    "records_per_second": round(len(drafts) / seconds), **_checked(region, people)}  # fmt: skip
        finally:
            region.close()


def _checked(region: Region, people: int) -> dict[str, Any]:
    wrong = linked = 0
    for person in region.records.people():
        numbers = {one.partition(":")[2] for one in (person.id, *person.absorbed)}
        wrong += len(numbers) > 1
        linked += len(numbers) == 1 and len(person.absorbed) == len(SYSTEMS) - 1
    return {"linked": linked, "linked_share": linked / people, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {"probable": probable(given.records), "exact": exact(given.people)}
    gc.unfreeze()  # what a region froze may go at the end: DuckDB complains about what stays
    if given.json:
        print(json.dumps(found))
        return
    likely, sure = found["probable"], found["exact"]
    print(f"probable: {likely['records']:,} records of {likely['people']:,} people, "
          f"{likely['true_pairs']:,} true pairs, {likely['seconds']} s")  # fmt: skip
    for least, one in likely["by_probability"].items():
        print(f"  at {least:>4}: precision {one['precision']:.4f}  recall {one['recall']:.4f}  F1 {one['f1']:.4f}"
              f"  ({one['pairs']:,} pairs)")  # fmt: skip
    alone = likely["same_email_or_phone_alone"]
    print(f"  for comparison, same e-mail or phone: precision {alone['precision']:.4f}  recall {alone['recall']:.4f}")
    print(f"exact: {sure['people']:,} people in {len(SYSTEMS)} systems: {sure['linked_share']:.2%} linked, "
          f"{sure['wrong']} wrongly; {sure['records']:,} records in {sure['seconds']} s"
          f" ({sure['records_per_second']:,}/s, SQLite, durable)")  # fmt: skip
    if sure["linked"] != sure["people"] or sure["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
