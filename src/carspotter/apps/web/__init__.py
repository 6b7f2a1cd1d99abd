"""The page that a dealer's manager uses all day, on the same app as the API; no torch, nothing from outside."""
