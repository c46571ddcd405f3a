"""Other programs that recognise speech: recordings in, events out."""
