"""E-mail over SMTP."""

from opportune.adapters.smtp.courier import SmtpCourier

__all__ = ["SmtpCourier"]
