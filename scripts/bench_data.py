"""Data for scripts/bench: made by seeds, the same on every machine. `scale` 1 is about 1 GB."""
import hashlib
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess

MEBIBYTE = 1 << 20
PAGE = 4096
# Whoever runs PostgreSQL's server: it refuses root.
NOBODY = 65534


def make_media(folder, scale):
    """Incompressible files, 250 of about 4 MiB; smaller ones before they are fewer than 16."""
    generator = random.Random(1)
    count = max(16, round(250 * scale))
    length = round(1000 * MEBIBYTE * scale / count)
    for number in range(count):
        name = folder / f"album{number % 10}" / f"photo{number:04}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(generator.randbytes(length + generator.randrange(4096)))


def make_small(folder, scale):
    """Files of 1 to 25 KiB, 80,000 of them, half text, half noise, 200 a folder."""
    generator = random.Random(2)
    words = [hashlib.sha256(str(n).encode()).hexdigest()[:7] for n in range(4000)]
    text = " ".join(generator.choice(words) for _ in range(200_000)).encode()
    for number in range(round(80_000 * scale)):
        name = folder / f"d{number // 200:04}" / f"f{number:06}.txt"
        name.parent.mkdir(parents=True, exist_ok=True)
        size = generator.randrange(1024, 25 * 1024)
        if number % 2:
            name.write_bytes(generator.randbytes(size))
        else:
            start = generator.randrange(len(text) - size)
            name.write_bytes(b"%d " % number + text[start:start + size])


def make_database(folder, scale):
    """SQLite: a table of orders, about half of it text, half of it noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(3)
    db = sqlite3.connect(folder / "orders.db")
    db.executescript(f"pragma page_size={PAGE}; pragma journal_mode=wal; pragma synchronous=off;"
                     "create table orders(id integer primary key, customer text, note text, proof blob);")
    number = 0
    while os.path.getsize(folder / "orders.db") < 1000 * MEBIBYTE * scale:
        rows = []
        for _ in range(5_000):
            number += 1
            rows.append((number, f"customer {generator.randrange(10**6)}",
                         f"please deliver order {number} to door {generator.randrange(999)} " * 6,
                         generator.randbytes(400)))
        db.executemany("insert into orders values (?,?,?,?)", rows)
        db.commit()
        db.execute("pragma wal_checkpoint(truncate)")
    db.close()


def change_database(database, pages_a_run):
    """Updates rows in place until about 1 % of the pages differ, in runs of so many neighbours."""
    generator = random.Random(4)
    db = sqlite3.connect(database)
    rows = db.execute("select max(id) from orders").fetchone()[0]
    pages = db.execute("pragma page_count").fetchone()[0]
    rows_a_run = max(1, rows * pages_a_run // pages) if pages_a_run > 1 else 1
    db.execute("pragma synchronous=off")
    for _ in range(max(1, pages // 100 // pages_a_run)):
        first = generator.randrange(1, rows - rows_a_run)
        db.executemany("update orders set proof=? where id=?",
                       [(generator.randbytes(400), first + n) for n in range(rows_a_run)])
    db.commit()
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()


def postgres_programs():
    """The folder of initdb, pg_ctl and pgbench, or nothing."""
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    if found:
        places.insert(0, pathlib.Path(found).resolve().parent)
    for place in places:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            pgbench = shutil.which("pgbench", path=f"{place}:{os.environ.get('PATH', '')}")
            if pgbench:
                return place, pgbench
    return None


def make_postgres(folder, scale):
    """The data directory of a server that was stopped: pgbench scale 100, then 20,000 transactions."""
    place, pgbench = postgres_programs()
    data, socket = folder / "cluster", folder.parent / "socket"
    user = []
    if os.geteuid() == 0:
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for own in (data, socket):
        own.mkdir(parents=True, mode=0o700)
        if user:
            os.chown(own, NOBODY, NOBODY)

    def run(*command):
        done = subprocess.run([*user, *map(str, command)], cwd="/", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})
        if done.returncode:
            raise SystemExit(f"bench: {command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}")

    run(place / "initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync")
    with open(data / "postgresql.conf", "a") as conf:
        conf.write(f"\nlisten_addresses = ''\nunix_socket_directories = '{socket}'\nfsync = off\n"
                   f"shared_buffers = 128MB\nmax_wal_size = {max(2, round(64 * scale)) * 16}MB\n")
    run(place / "pg_ctl", "-D", data, "-w", "-l", socket / "log", "start")
    try:
        run(pgbench, "-h", socket, "-U", "bench", "-i", "-q", "-s", max(1, round(100 * scale)), "postgres")
        run(pgbench, "-h", socket, "-U", "bench", "-n", "-c", 2, "-t", max(100, round(10_000 * scale)), "postgres")
    finally:
        run(place / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
    shutil.rmtree(socket)


def regular_files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def change_copy(folder):
    """Overwrites 1 % of the pages of a restored tree, in runs of 64, and keeps sizes and times."""
    generator = random.Random(5)
    files = [(path, path.stat()) for path in regular_files(folder)]
    wanted = sum(stat.st_size for _, stat in files) // 100
    while wanted > 0:
        path, stat = generator.choice(files)
        length = min(64 * PAGE, stat.st_size)
        if length == 0:
            continue
        with open(path, "r+b") as file:
            file.seek(generator.randrange(max(1, (stat.st_size - length) // PAGE + 1)) * PAGE)
            file.write(generator.randbytes(length))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        wanted -= length


def change_eighth(folder, turn):
    """Writes every eighth file anew, another eighth each turn."""
    generator = random.Random(100 + turn)
    for path in regular_files(folder)[turn % 8::8]:
        path.write_bytes(generator.randbytes(path.stat().st_size))
