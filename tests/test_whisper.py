"""Being written by the test engineer (real-weight and stream tests)."""
