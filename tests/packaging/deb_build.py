"""The one command that builds the package."""
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]


def build(out, top=TOP, **options):
    """Build the package of the checkout `top` into `out`; return the .deb."""
    done = subprocess.run([top / "packaging/deb/build", out], capture_output=True, text=True, timeout=180, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())
