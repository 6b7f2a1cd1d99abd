"""The command line with a checkpoint after every step: `python killed.py train …`, to be killed at any moment."""

from __future__ import annotations

import sys

from carspotter.apps.cli import main
from carspotter.training import checkpointer

checkpointer.EPOCH_SECONDS = checkpointer.CHECKPOINT_SECONDS = 0.0
sys.exit(main(sys.argv[1:]))
