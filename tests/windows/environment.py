"""Builds a Windows Python that runs under Wine: python.org's own libraries, the standard library of this interpreter, wheels.

The wheel of panda3d for Windows carries python.org's DLLs and extension modules. Wine 8 lacks three things that wheels
need; small libraries compiled with mingw-w64 take their place: python3.dll (the stable ABI forwards to python311.dll),
bcryptprimitives.dll, and the complex functions of the C runtime for numpy.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from functools import cached_property
from pathlib import Path

from tests.support.paths import REPOSITORY

COMPILER = "x86_64-w64-mingw32-gcc"
OBJDUMP = "x86_64-w64-mingw32-objdump"
TOOLS = ("wine", COMPILER, OBJDUMP)
DEBIAN_PACKAGES = ("wine64", "wine", "gcc-mingw-w64-x86-64")
PANDA3D = "panda3d==1.10.16"
"""The only wheel that carries python.org's DLLs; each of its Windows wheels has those of its Python version."""
NATIVE = Path(__file__).with_name("native")
# pip resolves for the platform it runs on, so what only Windows needs is named here.
REQUIREMENTS = (
    *("apscheduler", "apsw", "blake3", "click", "faiss-cpu", "filelock", "numpy", "pillow", "platformdirs", "pydantic"),
    *("pydantic-settings", "rich", "ruamel.yaml", "safetensors", "sqlite-vec", "starlette", "uvicorn", "watchfiles"),
    *("opencv-python-headless", "scipy"),
    *("hypothesis", "psutil", "pytest", "pytest-timeout", "colorama", "tzdata"),
)
_MATH_DLL = b"api-ms-win-crt-math-l1-1-0.dll"
_SHIM_DLL = b"xpi-ms-win-crt-math-l1-1-0.dll"
_COMPLEX_NUMBER_TO_REAL = ("cabs", "carg", "creal", "cimag")
_COMPLEX_NUMBER_TO_COMPLEX = (
    *("ccos", "ccosh", "cexp", "csin", "csinh", "ctan", "ctanh", "csqrt", "clog", "conj", "casin", "cacos", "catan"),
    *("casinh", "cacosh", "catanh"),
)


class EnvironmentUnavailable(Exception):
    """The environment cannot be built here; the message says what is missing."""


class WindowsEnvironment:
    """A folder with python.exe and a Wine prefix, outside the repository."""

    def __init__(self, cache: Path) -> None:
        """Nothing is built yet. A change of the versions or of this module gets a new folder."""
        constraints = (REPOSITORY / "constraints.txt").read_bytes()
        key = hashlib.sha256(constraints + Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:12]
        self.folder = cache / f"windows-{key}"
        self.prefix = self.folder / "wine"

    @cached_property
    def dll(self) -> str:
        """The name of Python's library without its ending, `python311` for Python 3.11."""
        return f"python{sys.version_info.major}{sys.version_info.minor}"

    def variables(self) -> dict[str, str]:
        """Environment variables for a command under Wine: the repository's packages are importable."""
        packages = [REPOSITORY, REPOSITORY / "handlers", REPOSITORY / "schemas", REPOSITORY / "toyworld"]
        return {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")},
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": "-all",
            "PYTHONPATH": ";".join(windows_path(folder) for folder in packages),
            "PYTHONUTF8": "1",
            "INDEXD_TEST_LAYER": "unit",
        }

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs Python with `arguments`."""
        return ["wine", str(self.folder / "python.exe"), *arguments]

    def run(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run Python to its end. Raises subprocess.TimeoutExpired."""
        # Wine gives Python no usable standard streams when they are files, so they are pipes.
        return subprocess.run(
            self.command(*arguments),
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def start_services(self) -> None:
        """Start Wine's own services, and keep them: they would hold the pipes of the command that starts them."""
        subprocess.run(["wineserver", "-p"], env=self.variables(), check=False)
        subprocess.run(
            self.command("-c", "pass"),
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    def stop_services(self) -> None:
        """End every program in the prefix."""
        subprocess.run(["wineserver", "-k"], env=self.variables(), check=False)

    def build(self) -> None:
        """Build what is missing. Raises EnvironmentUnavailable where a tool or a package cannot be had."""
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise EnvironmentUnavailable(f"no {', '.join(missing)} here (Debian: {' '.join(DEBIAN_PACKAGES)})")
        if (self.folder / "ready").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            self._install_python()
            self._install_packages()
            self._write_package_metadata()
            self._compile_libraries()
            self._create_prefix()
        except (OSError, subprocess.SubprocessError) as error:
            output = getattr(error, "stderr", None) or getattr(error, "output", None) or ""
            raise EnvironmentUnavailable(f"cannot be built: {error} {str(output)[-2000:]}") from error
        (self.folder / "ready").touch()

    def _install_python(self) -> None:
        _pip("download", "--no-deps", "--dest", str(self.folder), *self._for_windows(), PANDA3D)
        (wheel,) = self.folder.glob("panda3d*.whl")
        modules = self.folder / "DLLs"
        modules.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = Path(member).name
                # The api-ms-win-crt DLLs are Windows' own; Wine has its own ones.
                if member.startswith("deploy_libs/") and name and not name.startswith("api-ms-win"):
                    beside = name.lower().startswith((self.dll, "vcruntime", "sqlite3.dll"))
                    target = (self.folder if beside else modules) / name
                    target.write_bytes(archive.read(member))
        wheel.unlink()
        ignored = shutil.ignore_patterns("lib-dynload", "test", "site-packages", "config-*", "__pycache__", "idlelib")
        shutil.copytree(sysconfig.get_paths()["stdlib"], self.folder / "Lib", ignore=ignored)

    def _install_packages(self) -> None:
        constraints = REPOSITORY / "constraints.txt"
        pins = dict(line.split("==") for line in constraints.read_text("utf-8").splitlines() if "==" in line)
        pinned = {name.lower(): version for name, version in pins.items()}
        wanted = [f"{name}=={pinned[name]}" if name in pinned else name for name in REQUIREMENTS]
        _pip(
            "install", "--quiet", "--target", str(self.folder / "Lib" / "site-packages"), *self._for_windows(), *wanted
        )

    def _write_package_metadata(self) -> None:
        """The installed package as importlib.metadata sees it; its code is imported from the repository."""
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
        folder = self.folder / "Lib" / "site-packages" / f"{project['name']}-{project['version']}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: indexd\nVersion: {project['version']}\n", "utf-8"
        )

    def _for_windows(self) -> tuple[str, ...]:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        platform = ("--platform", "win_amd64", "--python-version", version, "--implementation", "cp")
        return (*platform, "--only-binary=:all:", "--disable-pip-version-check")

    def _compile_libraries(self) -> None:
        python = self.folder / "python.exe"
        _compile("-municode", f'-DPYTHON_DLL=L"{self.dll}.dll"', str(NATIVE / "python.c"), "-o", str(python))
        _compile("-shared", str(NATIVE / "prng.c"), "-ladvapi32", "-o", str(self.folder / "bcryptprimitives.dll"))
        exports = [name for name in _exports(self.folder / f"{self.dll}.dll") if name.startswith(("Py", "_Py"))]
        self._compile_definition("python3", [f"{name} = {self.dll}.{name}" for name in exports], "")
        self._compile_math_shim()

    def _compile_math_shim(self) -> None:
        modules = [
            path
            for path in (self.folder / "Lib" / "site-packages" / "numpy").rglob("*.pyd")
            if _MATH_DLL in path.read_bytes()
        ]
        names = sorted(set().union(*(_imports(path, _MATH_DLL.decode()) for path in modules)))
        source = [
            "#include <complex.h>",
            "typedef struct { float v[2]; } cfloat_t;",
            "typedef struct { double v[2]; } cdouble_t;",
        ]
        definitions = []
        for name in names:
            function = _complex_wrapper(name)
            definitions.append(f"{name} = indexd_{name}" if function else f"{name} = ucrtbase.{name}")
            source += [function] if function else []
        self._compile_definition(_SHIM_DLL.decode().removesuffix(".dll"), definitions, "\n".join(source))
        for path in modules:
            path.write_bytes(path.read_bytes().replace(_MATH_DLL, _SHIM_DLL))

    def _compile_definition(self, name: str, definitions: list[str], source: str) -> None:
        definition, code = self.folder / f"{name}.def", self.folder / f"{name}.c"
        definition.write_text(f"LIBRARY {name}.dll\nEXPORTS\n" + "\n".join(definitions) + "\n", "ascii")
        code.write_text(source + "\n", "ascii")
        flags = ("-O1", "-shared", "-static", "-static-libgcc") if source else ("-shared", "-nostdlib")
        _compile(*flags, str(code), str(definition), "-o", str(self.folder / f"{name}.dll"))

    def _create_prefix(self) -> None:
        probe = self.run("-c", "import numpy, apsw, watchfiles, faiss, pydantic; print('ready')", seconds=180)
        if probe.stdout.split()[-1:] != ["ready"]:
            raise EnvironmentUnavailable(f"Python does not start under Wine: {probe.stdout[-2000:]}")


def windows_path(path: Path) -> str:
    """The path as a Windows program under Wine sees it: drive Z is the root folder."""
    return "Z:" + str(path).replace("/", "\\")


def _pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def _compile(*arguments: str) -> None:
    subprocess.run([COMPILER, *arguments], check=True, capture_output=True, text=True)


def _dump(path: Path) -> str:
    return subprocess.run([OBJDUMP, "-p", str(path)], check=True, capture_output=True, text=True).stdout


def _exports(path: Path) -> list[str]:
    """Names that a DLL exports, from the table that objdump prints as `[ordinal] ... name`."""
    table = _dump(path).partition("[Ordinal/Name Pointer] Table")[2]
    return re.findall(r"^\s*\[\s*\d+\](?:\s*\+base\[\s*\d+\])?\s+(?:[0-9a-f]+\s+)?(\w+)\s*$", table, re.MULTILINE)


def _imports(path: Path, library: str) -> set[str]:
    """Names that a module imports from `library`."""
    for part in _dump(path).split("DLL Name: ")[1:]:
        name, _, rest = part.partition("\n")
        if name.strip() == library:
            return set(
                re.findall(r"^\s+[0-9a-f]+\s+(?:<none>|\d+)?\s+(?:[0-9a-f]+\s+)?([A-Za-z_]\w*)\s*$", rest, re.MULTILINE)
            )
    return set()


def _complex_wrapper(name: str) -> str | None:
    """C code of the complex function `name` over structures, as MSVC passes complex numbers; None for a real function."""
    base, suffix = (name[:-1], "f") if name.endswith("f") else (name, "")
    number, complex_type = ("float", "cfloat_t") if suffix else ("double", "cdouble_t")
    value = "__builtin_complex({0}.v[0], {0}.v[1])"
    if base in _COMPLEX_NUMBER_TO_REAL:
        return f"{number} indexd_{name}({complex_type} z) {{ return {base}{suffix}({value.format('z')}); }}"
    if base not in (*_COMPLEX_NUMBER_TO_COMPLEX, "cpow"):
        return None
    takes, values = (
        ("z, {0} y", f"{value.format('z')}, {value.format('y')}") if base == "cpow" else ("z", value.format("z"))
    )
    return (
        f"{complex_type} indexd_{name}({complex_type} {takes.format(complex_type)}) {{"
        f" {number} _Complex result = {base}{suffix}({values});"
        f" return ({complex_type}){{{{creal{suffix}(result), cimag{suffix}(result)}}}}; }}"
    )
