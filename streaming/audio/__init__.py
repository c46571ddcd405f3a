"""Bytes, files and devices to samples: mono, 16 kHz."""
