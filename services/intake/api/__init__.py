"""intake's HTTP doors: parse, call one handler, answer. One file for each kind of thing."""

from services.intake.api import change_requests, events, evidence, products, releases
from services.intake.api.evidence import UPLOADS

#: The busiest first: they are asked in this order whose a request is.
routers = [change_requests.router, evidence.router, events.router, releases.router, products.router]

__all__ = ["UPLOADS", "routers"]
