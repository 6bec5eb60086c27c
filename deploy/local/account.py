"""The account that Postgres runs under: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StartError
from deploy.local.processes import death_signal

DATA_CAPABILITY = "+dac_override"


@dataclass(frozen=True)
class Account:
    """Start of the command line that takes on the account, and who must own the files (None: they stay as they are)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def run_as(self, when_we_die: str) -> list[str]:
        """Return the start of a command line; `when_we_die` names the signal sent when the starter dies."""
        return [*self.prefix, *death_signal(when_we_die)]

    def own(self, path: Path) -> None:
        """Give a file or a whole folder to the account, if it does not own it yet."""
        owner = os.geteuid() if self.uid is None else self.uid
        group = os.getegid() if self.gid is None else self.gid
        if path.stat().st_uid == owner or os.geteuid() != 0:
            return
        for entry in [path, *path.rglob("*")]:
            os.chown(entry, owner, group, follow_symlinks=False)


def postgres_account() -> Account:
    """Return how to run Postgres here.

    An ordinary user runs it directly. Root runs it in a user namespace that maps root alone to another number; where the kernel or a
    container refuses that, as the user `nobody` that keeps the one capability it needs to reach folders of root.

    Raises:
        StartError: root, and neither way is open.
    """
    if os.geteuid() != 0:
        return Account()
    for account in (namespace_account(), nobody_account()):
        if account and _works(account):
            return account
    raise StartError(
        "Postgres does not run as root, and neither unshare nor setpriv may be used here; start as an ordinary user or set DATABASE_URL"
    )


def namespace_account() -> Account | None:
    """Root seen as `nobody` inside a user namespace of one user: no other account, no change of owner."""
    unshare = shutil.which("unshare")
    nobody = _nobody()
    if not unshare or not nobody:
        return None
    return Account(prefix=(unshare, "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"))


def nobody_account() -> Account | None:
    """The user `nobody` with the capability to pass folders that only root may enter."""
    setpriv = shutil.which("setpriv")
    nobody = _nobody()
    if not setpriv or not nobody:
        return None
    user = (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    capability = (f"--inh-caps={DATA_CAPABILITY}", f"--ambient-caps={DATA_CAPABILITY}")
    return Account(prefix=(setpriv, *user, *capability, "--"), uid=nobody.pw_uid, gid=nobody.pw_gid)


def _nobody() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return None


def _works(account: Account) -> bool:
    return subprocess.run([*account.prefix, "true"], capture_output=True, check=False).returncode == 0
