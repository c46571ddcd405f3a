"""A package, so that it is found before those of the same name that others install: whisper-live brings one."""
