"""Core ML packages of Whisper's encoder: made from weights on any machine, read back and checked without a Mac.

Only the modules that write or parse packages import coremltools, and they are imported when that is to be done.
"""
