# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""labrun by each Python that a managed host may have: its unit tests, and a smoke test of the runtime.

Every Python that is found is used, by an environment of its own without Ansible (3.8 has no ansible-core any more)
that is made once: 7 s each, from PyPI. 3.13 also runs in Debian 13's own root filesystem, made once by mmdebstrap in
25 s and more, and kept in ~/.cache/ocilab.hosts/roots. Cold all this takes 75 s, warm 20 s.
"""

from __future__ import annotations

import ast
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).resolve().parents[2]
VERSIONS = ("3.8", "3.11", "3.13")
# The last ones for Python 3.8, and good for all.
REQUIREMENTS = ("pytest==8.3.5", "hypothesis==6.113.0")
SMOKE = "tests/pythons/smoke_runtime.py"
PACKAGE = "ansible_collections/ocilab/hosts"
DEBIAN_PACKAGES = "python3,libseccomp2,busybox-static"


def find(version):
    """The path of a Python of that version, the system's first; None."""
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    found = [f"/usr/bin/python{version}", f"/usr/local/bin/python{version}", shutil.which(f"python{version}")]
    found += sorted(path for root in roots if root for path in glob.glob(f"{root}/versions/{version}.*/bin/python3"))
    for path in found:
        if path and os.access(path, os.X_OK):
            script = "import sys, venv, ensurepip, ctypes; print('%d.%d' % sys.version_info[:2])"
            result = subprocess.run([path, "-c", script], capture_output=True, text=True, check=False, cwd="/")
            if result.stdout.strip() == version:
                return path
    return None


def link_package(site):
    """Make the checkout importable as the collection, without Ansible: namespace packages need no more than a link."""
    link = Path(site, PACKAGE)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and os.readlink(link) == str(REPOSITORY):
        return
    link.unlink(missing_ok=True)
    link.symlink_to(REPOSITORY)


def environment(python):
    """The interpreter of an environment with REQUIREMENTS for that Python, made once for what both of them are."""
    told = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True)
    text = " ".join([os.path.realpath(python), told.stdout, *REQUIREMENTS])
    folder = REPOSITORY / "build" / "pythons" / hashlib.sha256(text.encode()).hexdigest()[:12]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True, cwd="/")
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        result = subprocess.run([*pip, *REQUIREMENTS], capture_output=True, text=True, check=False, cwd="/")
        if result.returncode != 0:
            pytest.skip(f"pip cannot install {' '.join(REQUIREMENTS)} for {python}: {result.stderr.strip()[-200:]}")
        (folder / "ready").touch()
    (site,) = glob.glob(f"{folder}/lib/python*/site-packages")
    link_package(site)
    return folder / "bin" / "python"


def unit_tests():
    """The files of tests/unit that need nothing but Python, pytest and the packages that run on managed hosts."""
    chosen = []
    for path in sorted((REPOSITORY / "tests" / "unit").glob("test_*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
        if all(is_available(name) for name in names):
            chosen.append(str(path.relative_to(REPOSITORY)))
    return chosen


def is_available(name):
    allowed = PACKAGE.replace("/", ".") + ".plugins.module_utils"
    top = name.partition(".")[0]
    return (name + ".").startswith(allowed + ".") or top in ("pytest", "hypothesis") or top in sys.stdlib_module_names


def passed(output):
    """How many tests passed, by pytest's last line."""
    found = re.search(r"(\d+) passed", output)
    return int(found.group(1)) if found else 0


def pytest_command(python, *files):
    return [str(python), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--tb=short", *files]


def check(result):
    """All green, and not by skipping everything."""
    told = result.stdout + result.stderr
    assert result.returncode == 0, told[-6000:]
    assert passed(result.stdout) > 5, told[-2000:]
    print(result.stdout.strip().splitlines()[-1])


def run_tests(python, *files):
    """The files by that Python, from the checkout, which they leave as it was."""
    wanted = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    wanted["PYTHONDONTWRITEBYTECODE"] = "1"
    command = pytest_command(python, *files)
    return subprocess.run(command, cwd=REPOSITORY, env=wanted, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(params=VERSIONS)
def python(request):
    found = find(request.param)
    if found is None:
        pytest.skip(f"there is no Python {request.param} with venv on this host")
    return environment(found)


def test_the_unit_tests_of_labrun_pass(python):
    files = unit_tests()
    assert files
    check(run_tests(python, *files))


def test_the_runtime_works(python):
    check(run_tests(python, SMOKE))


def test_every_module_of_the_managed_host_compiles_and_imports(python):
    """Without Ansible, which no module of these packages may need; each one by itself, in no order of the others'."""
    floors = ("linux", "spec", "images", "labrun", "engines", "comparison", "machines")
    names = []
    for floor in floors:
        for path in sorted((REPOSITORY / "plugins" / "module_utils" / floor).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            names.append(".".join([*PACKAGE.split("/"), *parts]).replace(".__init__", ""))
    assert len(names) > 40
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "assert not [name for name in sys.modules if name == 'ansible' or name.startswith('ansible.')]\n"
    )
    result = subprocess.run(
        [str(python), "-B", "-W", "error", "-c", script, *names], capture_output=True, text=True, check=False, cwd="/"
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_a_command_that_another_python_built_runs_from_its_sources(tmp_path, bundle):
    """The marshalled code is for one version; a host that was upgraded since has the sources."""
    others = [path for path in (find(version) for version in VERSIONS) if path]
    different = [path for path in others if os.path.realpath(path) != os.path.realpath("/usr/bin/python3")]
    if not different:
        pytest.skip("there is but one Python on this host")
    script = "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1])\n"
    script += "from module_utils.labrun import command; command.write_executable(sys.argv[2], sys.argv[3])"
    for builder, runner in ((different[0], "/usr/bin/python3"), (sys.executable, os.path.realpath(different[0]))):
        target = tmp_path / "labrun-other"
        subprocess.run([builder, "-c", script, str(REPOSITORY / "plugins"), str(target), runner], check=True, cwd="/")
        bundle.labrun_path = target
        result = bundle.run("/bin/echo", "from sources")
        assert (result.returncode, result.stdout, result.stderr) == (0, "from sources\n", "")


def debian_13():
    """A root filesystem of Debian 13 with its own Python, from the cache or made now."""
    name = hashlib.sha256(f"trixie {DEBIAN_PACKAGES} 1".encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    root = base / "ocilab.hosts" / "roots" / f"trixie-{name}"
    if root.is_dir():
        return root
    if not shutil.which("mmdebstrap"):
        pytest.skip("mmdebstrap is not installed")
    root.parent.mkdir(parents=True, exist_ok=True)
    new = root.with_name(f"{root.name}.{os.getpid()}.new")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", "trixie", str(new)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        pytest.skip(f"mmdebstrap cannot make a root filesystem of Debian 13: {result.stderr.strip()[-300:]}")
    try:
        new.rename(root)
    except OSError:
        shutil.rmtree(new)  # another run was quicker
    return root


def pure_packages():
    """A folder with REQUIREMENTS for Python 3.13, which are pure Python, by the pip of the tests' own."""
    folder = (
        REPOSITORY / "build" / "pythons" / hashlib.sha256(("pure " + " ".join(REQUIREMENTS)).encode()).hexdigest()[:12]
    )
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            str(folder),
        ]
        options = ["--python-version", "3.13", "--only-binary=:all:", "--implementation", "py"]
        result = subprocess.run([*pip, *options, *REQUIREMENTS], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            pytest.skip(f"pip cannot install {' '.join(REQUIREMENTS)}: {result.stderr.strip()[-300:]}")
        (folder / "ready").touch()
    return folder


# In a mount namespace of its own. The root is bound on itself: where the root is no mount, no container can start.
_ENTER = """\
set -e
root=$1 checkout=$2 packages=$3
shift 3
mount --bind "$root" "$root"
cd "$root"
for kind in tmp run root mnt; do mount -t tmpfs tmpfs $kind; done
mkdir -p mnt/packages mnt/site/ansible_collections/ocilab/hosts run/lock
mount --bind "$packages" mnt/packages
mount --bind "$checkout" mnt/site/ansible_collections/ocilab/hosts
mount -o remount,bind,ro mnt/site/ansible_collections/ocilab/hosts
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mkdir mnt/old
pivot_root . mnt/old
cd /mnt/site/ansible_collections/ocilab/hosts
umount -l /mnt/old
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/mnt/packages:/mnt/site
exec "$@"
"""


@pytest.mark.parametrize("what", ["the unit tests", "the runtime"])
def test_python_of_debian_13(what):
    root, packages = debian_13(), pure_packages()
    files = unit_tests() if what == "the unit tests" else [SMOKE]
    arguments = [str(root), str(REPOSITORY), str(packages), *pytest_command("/usr/bin/python3", *files)]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={"PATH": os.environ["PATH"]}
    )
    check(result)
