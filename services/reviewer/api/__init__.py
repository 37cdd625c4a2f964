"""The HTTP doors: `doors` for programs (JSON), `pages` for people (HTML)."""

from services.reviewer.api.doors import router
from services.reviewer.api.pages import router as pages

__all__ = ["pages", "router"]
