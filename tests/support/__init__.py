"""Helpers shared by the tests: a collection path that points at this checkout, real API servers, a module runner."""
