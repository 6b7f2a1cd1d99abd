"""`python -m carspotter`, which is also how several processes start: `torchrun -m carspotter train …`."""

import sys

from carspotter.apps.cli import main

sys.exit(main())
