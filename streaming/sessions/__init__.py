"""One listener, and the thread that serves many."""
