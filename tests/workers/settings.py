"""The site's settings with a child that follows a script, for worker processes that tests start."""

import sys
from pathlib import Path

from webapp.settings import *  # noqa: F403

CHILD_COMMAND = (sys.executable, str(Path(__file__).with_name("fake_child.py")))
