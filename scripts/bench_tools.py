"""The tools that scripts/bench runs beside each other, and how one command is measured."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# 256 bit: Lifeboat takes it for a generated key.
KEY = "0123456789abcdef" * 4
# Snapshots that pruning leaves.
KEPT = 4
# A tmpfs whose memory is warmed before each measurement.
WARMED = None


def warm(place, size=3 << 30):
    """Touches memory and gives it back. On a virtual machine the first touch of a page that the host
    had taken back costs as much as writing it: which tool pays is chance, unless none does."""
    file = os.open(place, os.O_RDWR | os.O_TMPFILE)
    try:
        room = os.fstatvfs(file)
        os.posix_fallocate(file, 0, min(size, room.f_bavail * room.f_frsize // 2))
    finally:
        os.close(file)


def measure(command, env=None, cwd=None, accept=(0,)):
    """(wall seconds, CPU seconds, peak KiB) of one command, by the kernel's own accounting."""
    if WARMED is not None:
        warm(WARMED)
    with tempfile.NamedTemporaryFile("r", suffix=".time") as report:
        done = subprocess.run(
            ["/usr/bin/time", "-o", report.name, "-f", "%e %U %S %M", *map(str, command)],
            env={**os.environ, **(env or {})}, cwd=cwd,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode not in accept:
            sys.exit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        wall, user, system, peak = report.read().split()[-4:]
        return float(wall), float(user) + float(system), int(peak)


def add(*samples):
    """Several commands as one: times add up, the highest peak counts."""
    return sum(s[0] for s in samples), sum(s[1] for s in samples), max(s[2] for s in samples)


def stored(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


class Lifeboat:
    name = "lifeboat"
    binary = None

    def __init__(self, work, workload, source):
        self.source, self.tier, self.base = source, work / "tier", work / "plan"
        self.base.mkdir()
        what = (f'sqlite = {{ path = "{source}/orders.db" }}' if workload == "database"
                else f'files = {{ paths = ["{source}"] }}')
        (self.base / "lifeboat.toml").write_text(
            f'[plan]\nname = "bench"\n[key]\nvault_env = "LIFEBOAT_VAULT_KEY"\n'
            f'[component.data]\n{what}\n[tier.local]\nurl = "{self.tier}"\nkeep = {{ min = {KEPT} }}\n')
        self.env = {"LIFEBOAT_VAULT_KEY": KEY, "LIFEBOAT_PLAN": str(self.base / "lifeboat.toml")}
        self.repository = self.tier / "vault"

    def run(self, *arguments):
        return measure([self.binary, *arguments], self.env, self.base)

    def backup(self):
        return self.run("backup")

    def restore(self, target):
        return self.run("restore", "data", "--to", target)

    @classmethod
    def has(cls, command, option):
        told = subprocess.run([cls.binary, command, "--help"], stdout=subprocess.PIPE, text=True)
        return option in told.stdout

    def delta(self, target):
        """Nothing where this version has no such option."""
        if not self.has("restore", "--verify-existing"):
            return None
        return self.run("restore", "data", "--to", target, "--verify-existing", "--yes")

    def before_prune(self):
        # Pruning asks for a verified backup of each component.
        self.run("verify")

    def prune(self):
        return self.run("prune", "--yes", "--grace", "0s")


class Restic:
    name = "restic"

    def __init__(self, work, workload, source):
        self.source, self.repository = source, work / "repo"
        shutil.copytree(work / "empty-vault", self.repository)
        self.env = {"RESTIC_PASSWORD": KEY, "RESTIC_REPOSITORY": str(self.repository),
                    "RESTIC_CACHE_DIR": str(work / "cache")}

    def run(self, *arguments):
        return measure(["restic", "-q", *arguments], self.env)

    def backup(self):
        return self.run("backup", self.source)

    def restore(self, target):
        return self.run("restore", "latest", "--target", target)

    def delta(self, target):
        return self.restore(target)

    def before_prune(self):
        pass

    def prune(self):
        return self.run("forget", "--keep-last", KEPT, "--prune")


class Borg:
    name = "borg"

    def __init__(self, work, workload, source):
        self.source, self.repository, self.count = source, work / "borg", 0
        self.env = {"BORG_PASSPHRASE": KEY, "BORG_REPO": str(self.repository),
                    "BORG_BASE_DIR": str(work / "borgbase"), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        measure(["borg", "init", "-e", "repokey"], self.env)

    def backup(self):
        self.count += 1
        # 1 is a warning: a file that changed.
        return measure(["borg", "create", "-C", "zstd,3", f"::a{self.count}", self.source], self.env)

    def restore(self, target):
        target.mkdir(exist_ok=True)
        return measure(["borg", "extract", f"::a{self.count}"], self.env, target)

    def delta(self, target):
        return self.restore(target)

    def before_prune(self):
        pass

    def prune(self):
        return add(measure(["borg", "prune", "--keep-last", str(KEPT)], self.env),
                   measure(["borg", "compact"], self.env))


def tools():
    return [Lifeboat, Restic] + ([Borg] if shutil.which("borg") else [])


def empty_vault(work):
    """A vault that Lifeboat initialised and nothing else: made by a backup of one tiny file."""
    folder = work / "init"
    folder.mkdir()
    (folder / "one").write_text("one")
    boat = Lifeboat(folder, "files", folder / "one")
    boat.backup()
    vault = work / "empty-vault"
    vault.mkdir()
    shutil.copy(boat.repository / "config", vault)
    shutil.copytree(boat.repository / "keys", vault / "keys")
    for name in ("data", "index", "snapshots", "locks"):
        (vault / name).mkdir()


def version(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return " ".join(done.stdout.split()[:2])


def versions():
    asked = [[Lifeboat.binary, "--version"], ["restic", "version"]]
    return "; ".join(map(version, asked + ([["borg", "--version"]] if shutil.which("borg") else [])))


def machine():
    """The machine by its features."""
    flags = set()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):
            flags |= set(line.split(":", 1)[1].split())
    named = [name for flag, name in [("sha_ni", "SHA-NI"), ("vaes", "VAES"), ("avx512f", "AVX-512"), ("sha2", "SHA2")]
             if flag in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return f"{len(os.sched_getaffinity(0))} cores ({', '.join(named) or 'no SHA instructions'}), {memory:.0f} GiB of memory"
