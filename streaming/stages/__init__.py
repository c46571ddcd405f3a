"""What makes more of a session's events: translation, speech. Events in, events out."""
