"""`python -m webapp.client`: the same as `paretobox`."""

import sys

from webapp.client.cli import main

sys.exit(main())
