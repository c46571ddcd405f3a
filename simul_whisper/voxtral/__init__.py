"""Voxtral: Whisper's encoder, a projector, and a Llama that writes what it hears, or answers questions about it.

`checkpoint` reads the files of a model, `tekken` its tokenizer.
"""
