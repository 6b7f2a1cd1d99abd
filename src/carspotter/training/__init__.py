"""Everything that needs torch."""

import os

# Threads that wait for work must sleep, not spin: on shared cores two spinning threads take each other's time slices,
# and a training step took twice as long or worse (docs/log.md, 2026-11-22). OpenMP reads this once, when torch is
# imported, so it stands here; a setting of the user's own wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
