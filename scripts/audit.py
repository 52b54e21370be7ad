"""Looks up known vulnerabilities of everything installed: ``make audit``.

Exit codes: 0 none known, 1 some known (listed), 2 the database could not be reached, so that nothing is known.
pip-audit itself ends with 0 when it could look up nothing at all.
"""

from __future__ import annotations

import json
import subprocess
import sys

from shared.terminal.console import say


def main() -> int:
    """Run pip-audit on this environment and say what came of it."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        say(f"audit: pip-audit could not reach its database or failed: {reason[:200]}")
        return 2
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [(package, flaw) for package in packages for flaw in package.get("vulns", [])]
    for package, flaw in found:
        say(f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or '-'}")
    if len(skipped) == len(packages):
        say(f"audit: the database cannot be reached from here: none of {len(packages)} packages could be looked up")
        return 2
    unknown = f"; not in the database: {', '.join(skipped)}" if skipped else ""
    say(f"audit: {len(packages) - len(skipped)} packages looked up, {len(found)} known vulnerabilities{unknown}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
