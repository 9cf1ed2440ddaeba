"""Storekeeper: one true, complete, fresh document of an Image Storage."""

__version__ = "0.1.0"
