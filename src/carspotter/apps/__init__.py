"""Thin entries: parse, call, print."""
