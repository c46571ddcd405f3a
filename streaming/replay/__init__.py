"""What it takes to play a new session the audio that a lost one had heard, and to tell nothing twice. Pure."""
