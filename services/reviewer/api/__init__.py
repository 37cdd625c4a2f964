"""The HTTP doors: `doors` for programs (JSON), `pages` for people (HTML)."""

from services.reviewer.api.doors import router

__all__ = ["router"]
