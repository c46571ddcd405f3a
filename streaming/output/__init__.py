"""Events to text, captions and files."""
