"""Requests that have waited too long are refused, and those that run too long are ended."""
