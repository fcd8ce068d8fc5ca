"""Which channels go out by e-mail: one settings file per channel in a region's `secrets` folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from opportune.adapters.smtp.courier import SmtpCourier, SmtpError
from opportune.private_files import is_private

ENDING: Final = ".smtp.yaml"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<channel>.smtp.yaml`: the mail server (`smtp+tls://user:password@host:587`), who sends, and the public address
    of this server, where customers find their preference pages."""

    url: str
    sender: str
    public_url: str


def couriers_of(folder: Path) -> dict[str, SmtpCourier]:
    """Channel -> courier for every settings file; SmtpError names the file and the field, never a value."""
    found: dict[str, SmtpCourier] = {}
    for path in sorted(folder.glob(f"*{ENDING}")) if folder.is_dir() else ():
        if not is_private(path):
            raise SmtpError(f"`{path}` can be read by others: run chmod 600 on it")
        try:
            settings = msgspec.convert(YAML(typ="safe").load(path), Settings)
        except YAMLError:
            raise SmtpError(f"`{path}` is not YAML: write url, sender and public_url") from None
        except msgspec.ValidationError as error:
            raise SmtpError(f"`{path}`: {error}") from None
        try:
            courier = SmtpCourier(settings.url, settings.sender, settings.public_url)
        except SmtpError as error:
            raise SmtpError(f"`{path}`, url: {error}") from None
        found[path.name.removesuffix(ENDING)] = courier
    return found
