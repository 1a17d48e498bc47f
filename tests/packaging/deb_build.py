"""The one command that builds the package."""
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]


def build(out, top=TOP, **options):
    """Build the package of the checkout `top` into `out`; return the .deb."""
    done = subprocess.run([top / "packaging/deb/build", out], capture_output=True, text=True, timeout=180, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


def newer(package, out):
    """The same package as a later version would be: another number, and another text of the configuration file."""
    tree = out / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    version = next(line.partition(": ")[2] for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(f"Version: {version}\n", f"Version: {version}+later\n"))
    shipped = tree / "usr/share/tideover/tideover.toml"
    shipped.write_text(shipped.read_text() + "# Another line.\n")
    made = out / f"tideover_{version}+later_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, capture_output=True)
    return made
