"""Disk image formats: one file each, one row each."""
