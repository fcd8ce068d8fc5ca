"""E-mail over SMTP."""

from opportune.adapters.smtp.courier import SmtpCourier, SmtpError
from opportune.adapters.smtp.settings import couriers_of

__all__ = ["SmtpCourier", "SmtpError", "couriers_of"]
