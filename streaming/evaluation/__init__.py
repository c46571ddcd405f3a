"""Recordings with references to figures."""
