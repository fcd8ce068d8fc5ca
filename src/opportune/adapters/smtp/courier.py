"""Hands an offer to a mail server, and knows at every step whether the message may have left."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Final
from urllib.parse import unquote, urlsplit

from opportune.ports import Courier, Delivery, Parcel

TIMEOUT_S: Final = 10.0
ONE_LINE: Final = SMTP.clone(max_line_length=990)
"""Some providers do not read a List-Unsubscribe that goes over two lines."""
PORTS: Final = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
_PAGE: Final = """<!doctype html><html lang="en"><body style="font-family:sans-serif;line-height:1.5">
<h1 style="font-size:1.25rem">{headline}</h1><p>{body}</p><p>{action}</p>
<p style="font-size:.8rem"><a href="{stop}">Stop these messages</a> · <a href="{choose}">Choose what you get</a></p>
</body></html>
"""


class SmtpError(ValueError):
    """A mail server's address that cannot be used."""


class SmtpCourier(Courier):
    """One message per connection. RFC 5321: what was not accepted after DATA was not delivered; when the answer to
    DATA never came, nobody knows."""

    address_kind = "email"

    def __init__(self, url: str, sender: str, public_url: str) -> None:
        """`url` is `smtp://host`, `smtp+tls://user:password@host:587` (STARTTLS) or `smtps://…`; `sender` the From
        address; `public_url` where the preference pages are reached. Raises SmtpError without quoting the URL."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise SmtpError("the mail server's address must look like smtp+tls://user:password@host:587")
        self._scheme, self._host = parts.scheme, parts.hostname
        self._port = parts.port or PORTS[parts.scheme]
        self._login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._sender, self._public_url = sender, public_url.rstrip("/")

    def deliver(self, parcel: Parcel, may_go: Callable[[], bool]) -> Delivery:
        try:
            server = self._open()
        except (OSError, smtplib.SMTPException) as error:
            return Delivery("failed", f"connect: {type(error).__name__}")
        try:
            return self._hand_over(server, parcel, may_go)
        finally:
            server.close()

    def _open(self) -> smtplib.SMTP:
        if self._scheme == "smtps":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
            if self._scheme == "smtp+tls":
                server.starttls(context=ssl.create_default_context())
        if self._login is not None:
            server.login(*self._login)
        return server

    def _hand_over(self, server: smtplib.SMTP, parcel: Parcel, may_go: Callable[[], bool]) -> Delivery:
        try:
            server.ehlo_or_helo_if_needed()
            for code, _ in (server.mail(self._sender), server.rcpt(parcel.to)):
                if code >= 400:
                    return Delivery("refused" if code >= 500 else "failed", f"smtp {code}")
            message = self._message(parcel).as_bytes(policy=ONE_LINE)
        except (OSError, smtplib.SMTPException) as error:
            return Delivery("failed", f"envelope: {type(error).__name__}")
        if not may_go():
            return Delivery("held")
        try:
            code, _ = server.data(message)
        except smtplib.SMTPDataError as error:
            return Delivery("refused" if error.smtp_code >= 500 else "failed", f"smtp {error.smtp_code}")
        except (OSError, smtplib.SMTPException) as error:
            return Delivery("unknown", f"data: {type(error).__name__}")
        if code >= 400:
            return Delivery("refused" if code >= 500 else "failed", f"smtp {code}")
        return Delivery("sent", f"smtp {code}")

    def _message(self, parcel: Parcel) -> EmailMessage:
        """Text and HTML; RFC 8058 one-click headers; the Message-ID is the action's, so that doubles can be seen."""
        stop = f"{self._public_url}/unsubscribe/{parcel.unsubscribe}"
        choose = f"{self._public_url}/preferences/{parcel.preferences}"
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, parcel.to, parcel.headline
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{parcel.id}@{self._sender.rpartition('@')[2]}>"
        message["List-Unsubscribe"] = f"<{stop}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        text = [parcel.headline, parcel.body, parcel.action, f"Stop these messages: {stop}"]
        message.set_content("\n\n".join(part for part in text if part) + "\n")
        shown = {"headline": parcel.headline, "body": parcel.body, "action": parcel.action}
        page = _PAGE.format(stop=escape(stop), choose=escape(choose), **{k: escape(v) for k, v in shown.items()})
        message.add_alternative(page, subtype="html")
        return message
