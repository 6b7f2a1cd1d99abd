"""Photos and sets: decoding, archives, tables, sources, splits, views, and the drawn lot."""
