"""Which tests run in one process, where several share them."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class Groups(LoadScopeScheduling):
    """Hands each process whole groups of tests, by their folder.

    What shares a running stack stays together, and so does what starts and kills stacks of its own: both mostly wait. The rest is the
    library's tests and the site's, in which what drives Chromium comes last (see conftest.py).
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the group of a test by its id, such as `tests/webapp/api/test_jobs_api.py::test_a_job_is_cancelled`."""
    path = nodeid.partition("::")[0]
    folder = path.split("/")[1]
    if folder in ("deploy", "faults") or path.endswith("/test_never_lost.py"):
        return "killed stacks"
    if folder == "end_to_end":
        return "one stack"
    return "site" if folder in ("webapp", "workers") else "library"
