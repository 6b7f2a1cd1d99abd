"""Small real things that several tests share."""
