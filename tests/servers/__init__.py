"""The real servers that tests run on. Fixtures that hand them out are in `tests/conftest.py`."""
