"""The database as rooms see it: `Database.tx` for what changes something, `Database.read` for what does not."""

from shared.db.database import Database
from shared.db.tables import plumbing
from shared.db.tx import Appointment, StaleAppointment, Tx

__all__ = ["Appointment", "Database", "StaleAppointment", "Tx", "plumbing"]
