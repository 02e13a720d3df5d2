#!/usr/bin/env python3
"""Databases while they are written to: base backups, restores, and the lag of a stream.

scripts/bench_live.py [--only base,catch-up,lag,sqlite] [--runs 5] [--scale 100] [--seconds 30] [--dir /dev/shm]
                      [--write docs/benchmarks.md]

- base: pgbench at this scale, the server running: a base backup and its restore by Lifeboat (parallel
  local reads), pg_basebackup and pgBackRest (two processes, zst, AES-256). Lifeboat's `restore`
  recovers, checks and stops the server; pgBackRest's only lays the files down, which is what
  `restore --prepare-only` does.
- catch-up: half a gigabyte of log was written while nothing streamed; how fast it is fetched, beside
  pg_receivewal.
- lag: seconds from the moment at which the server had flushed a place of its log to the one at which
  a tier had it, sampled every 20 ms under pgbench at full speed; and what pgbench lost by the stream.
- sqlite: the same for SQLite at 500 and 5,000 transactions a second: a commit counts as kept once the
  first range that is complete up to a later instant stands in the tier; with the bytes stored for each
  byte that the writer put into the database's own log, and the writer's latency.

LIFEBOAT names the program. Medians of the runs, as Markdown.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from bench_tools import KEY, machine, stored  # noqa: E402
from soak_stream import BIN, Boat, Server, USER, fail, own, run  # noqa: E402
import soak_stream  # noqa: E402

OPEN = pathlib.Path(__file__).resolve().parent.parent / "tools/open.py"
MARKS = ("<!-- scripts/bench_live.py -->\n", "<!-- end of scripts/bench_live.py -->\n")
SQLITE_WRITER = r"""
import json, random, sqlite3, sys, time
database, report, rate, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
db = sqlite3.connect(database, isolation_level=None, timeout=5)
db.execute("pragma synchronous=normal")
waits, told, start, n = [], [], time.monotonic(), 0
while time.monotonic() < start + seconds:
    n += 1
    begun = time.monotonic()
    db.execute("begin immediate")
    db.execute("insert into mark(at) values (?)", (time.time(),))
    db.execute("update wide set v = ? where id = ?", ("%0150x" % random.getrandbits(600), n * 7919 % 20000 + 1))
    db.execute("commit")
    waits.append(time.monotonic() - begun)
    told.append(time.time())
    ahead = start + n / rate - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
waits.sort()
json.dump({"rate": n / seconds, "p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100],
           "max": waits[-1], "told": told}, open(report, "w"))
"""


def seconds_of(command, **more):
    began = time.monotonic()
    run(*command, **more)
    return time.monotonic() - began


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


class Cluster(Server):
    def make(self, scale, archive=None):
        super().make()
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("shared_buffers = 256MB\nmax_wal_size = 4GB\nmax_wal_senders = 10\ncheckpoint_timeout = 30min\n")
            if archive:
                conf.write(f"archive_mode = on\narchive_command = '{archive}'\n")
        self.start()
        run(BIN / "pgbench", "-h", self.socket, "-U", "soak", "-i", "-q", "-s", str(scale), "postgres")
        self.ask("checkpoint")

    def component(self):
        return 'postgres = { dsn_env = "SOAK_DSN", mode = "physical", stream = true, window = "1d" }'

    def dsn(self):
        return f"host={self.socket} user=soak dbname=postgres"


def pgbackrest(work, cluster):
    place = work / "pgbackrest"
    for name in ("repo", "lock", "log", "spool"):
        (place / name).mkdir(parents=True)
    conf = place / "pgbackrest.conf"
    conf.write_text(
        f"[global]\nrepo1-path={place}/repo\nlock-path={place}/lock\nlog-path={place}/log\nspool-path={place}/spool\n"
        f"repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={KEY}\ncompress-type=zst\nprocess-max=2\nstart-fast=y\n"
        f"archive-async=n\nlog-level-console=error\n[main]\npg1-path={cluster.data}\npg1-socket-path={cluster.socket}\n"
        "pg1-user=soak\n")
    own(place)
    return conf, ["pgbackrest", f"--config={conf}", "--stanza=main"]


def base(rows, place, options):
    for _ in range(options.runs):
        work = pathlib.Path(tempfile.mkdtemp(prefix="base-", dir=place))
        work.chmod(0o755)
        cluster = Cluster(work / "live", work / "socket")
        conf = work / "pgbackrest" / "pgbackrest.conf"
        archive = f"pgbackrest --config={conf} --stanza=main archive-push %p" if shutil.which("pgbackrest") else None
        tool = None
        if archive:
            conf, tool = pgbackrest(work, cluster)
        cluster.make(options.scale, archive)
        if tool:
            run(*USER, *tool, "stanza-create")
            rows.add("base backup", "pgBackRest", seconds_of([*USER, *tool, "--type=full", "backup"]),
                     stored(work / "pgbackrest" / "repo"))
            (work / "pgr").mkdir(mode=0o700)
            own(work / "pgr")
            rows.add("restore", "pgBackRest", seconds_of([*USER, *tool, f"--pg1-path={work}/pgr", "restore"]))
            shutil.rmtree(work / "pgr")
        (work / "copy").mkdir(mode=0o700)
        own(work / "copy")
        rows.add("base backup", "pg_basebackup", seconds_of(
            [*USER, BIN / "pg_basebackup", "-h", cluster.socket, "-U", "soak", "-D", work / "copy" / "data", "-c", "fast"]),
            stored(work / "copy"))
        shutil.rmtree(work / "copy")
        boat = Boat(work, cluster.component(), cluster.dsn())
        began = time.monotonic()
        boat.run("backup")
        rows.add("base backup", "lifeboat", time.monotonic() - began, stored(work / "tier"))
        began = time.monotonic()
        boat.run("backup")
        rows.add("base backup again", "lifeboat", time.monotonic() - began)
        began = time.monotonic()
        boat.run("restore", "data", "--to", work / "prepared", "--prepare-only", check=False)
        rows.add("restore, prepared only", "lifeboat", time.monotonic() - began)
        shutil.rmtree(work / "prepared", ignore_errors=True)
        rows.add("restore, recovered and checked", "lifeboat", boat.restored("back")[1])
        cluster.stop()
        shutil.rmtree(work)


def slot_of(cluster, name):
    return cluster.ask("select coalesce(restart_lsn, '0/0') from pg_replication_slots "
                       f"where {'not ' if name is None else ''}slot_name = '{name or 'peer'}' limit 1")


def catch_up(rows, place, options):
    for _ in range(options.runs):
        work = pathlib.Path(tempfile.mkdtemp(prefix="catch-", dir=place))
        work.chmod(0o755)
        cluster = Cluster(work / "live", work / "socket")
        cluster.make(10)
        boat = Boat(work, cluster.component(), cluster.dsn())
        boat.run("backup")
        boat.start()
        time.sleep(3)
        boat.end()
        cluster.ask("select pg_create_physical_replication_slot('peer', true)")
        begun = cluster.ask("select pg_current_wal_lsn()")
        while int(cluster.ask(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{begun}')::bigint")) < 512 << 20:
            run(BIN / "pgbench", "-h", cluster.socket, "-U", "soak", "-i", "-q", "-s", "20", "postgres")
        end = cluster.ask("select pg_switch_wal()")
        size = int(cluster.ask(f"select pg_wal_lsn_diff('{end}', '{begun}')::bigint"))
        done = f"select restart_lsn >= '{end}' from pg_replication_slots where slot_name %s 'peer'"
        (work / "wal").mkdir(mode=0o700)
        own(work / "wal")
        peer = subprocess.Popen([*USER, str(BIN / "pg_receivewal"), "-h", str(cluster.socket), "-U", "soak", "-D",
                                 str(work / "wal"), "--slot=peer", "--synchronous", "--endpos", end, "--no-loop"], cwd="/")
        began = time.monotonic()
        peer.wait()
        rows.add("catch-up, MB/s", "pg_receivewal", size / 1e6 / (time.monotonic() - began))
        began = time.monotonic()
        boat.start()
        while cluster.ask(done % "<>") != "t":
            time.sleep(0.05)
            if time.monotonic() > began + 120:
                fail("the stream did not catch up in two minutes")
        rows.add("catch-up, MB/s", "lifeboat", size / 1e6 / (time.monotonic() - began))
        boat.end()
        cluster.stop()
        shutil.rmtree(work)


class Watch(threading.Thread):
    """Samples where the server's log ends and where a tier has it, through one psql."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.samples, self.over = [], False
        self.psql = subprocess.Popen([BIN / "psql", "-XAtq", "-h", cluster.socket, "-U", "soak", "-d", "postgres"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def run(self):
        while not self.over:
            self.psql.stdin.write("select (pg_current_wal_flush_lsn() - '0/0')::bigint, coalesce((select "
                                  "(restart_lsn - '0/0')::bigint from pg_replication_slots limit 1), 0);\n")
            line = self.psql.stdout.readline().strip()
            written, kept = map(int, line.split("|"))
            self.samples.append((time.monotonic(), written, kept))
            time.sleep(0.02)
        self.psql.kill()

    def lags(self):
        found, later = [], 0
        for moment, written, _ in self.samples:
            if moment > self.samples[-1][0] - 1.5:
                break
            while later < len(self.samples) and self.samples[later][2] < written:
                later += 1
            if later == len(self.samples):
                fail(f"a place of the log was not in the tier {self.samples[-1][0] - moment:.1f} s later")
            found.append(max(0.0, self.samples[later][0] - moment))
        return found


def tps(cluster, seconds):
    done = run(BIN / "pgbench", "-h", cluster.socket, "-U", "soak", "-n", "-c", "2", "-T", seconds, "postgres")
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))


def lag(rows, place, options):
    for _ in range(options.runs):
        work = pathlib.Path(tempfile.mkdtemp(prefix="lag-", dir=place))
        work.chmod(0o755)
        cluster = Cluster(work / "live", work / "socket")
        cluster.make(10)
        boat = Boat(work, cluster.component(), cluster.dsn())
        boat.run("backup")
        alone = tps(cluster, options.seconds)
        boat.start()
        time.sleep(3)
        watch = Watch(cluster)
        watch.start()
        streamed = tps(cluster, options.seconds)
        time.sleep(2)
        watch.over = True
        watch.join()
        lags = watch.lags()
        rows.add("lag p50, s", "lifeboat", percentile(lags, 0.5))
        rows.add("lag p99, s", "lifeboat", percentile(lags, 0.99))
        rows.add("lag max, s", "lifeboat", max(lags))
        rows.add("pgbench with the stream, of without", "lifeboat", streamed / alone)
        boat.end()
        cluster.stop()
        shutil.rmtree(work)


def logged_bytes(database):
    """Bytes that a transaction of the writer adds to the database's own log."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("pragma wal_autocheckpoint=0")
    db.execute("pragma wal_checkpoint(truncate)")
    for n in range(1000):
        db.execute("begin immediate")
        db.execute("insert into mark(at) values (?)", (time.time(),))
        db.execute("update wide set v = ? where id = ?", ("%0150x" % random.getrandbits(600), n * 7919 % 20000 + 1))
        db.execute("commit")
    size = os.path.getsize(f"{database}-wal")
    db.close()
    return size / 1000


class Arrivals(threading.Thread):
    """Notes when each range of a journal came to stand in the tier."""

    def __init__(self, tier):
        super().__init__(daemon=True)
        self.tier, self.seen, self.over = tier, {}, False

    def run(self):
        while not self.over:
            for folder in self.tier.glob("journal/data/*/ranges"):
                for entry in os.scandir(folder):
                    if entry.name not in self.seen:
                        self.seen[entry.name] = entry.stat().st_mtime
            time.sleep(0.02)

    def lags(self, told, identity):
        """Seconds from each commit to the arrival of the first range that is complete up to a later instant."""
        complete = []
        for folder in self.tier.glob("journal/data/*"):
            if not (folder / "ranges").is_dir():
                continue
            lines = run(sys.executable, OPEN, "journal", folder, "--identity", identity).stdout.splitlines()
            for seq, kind, begin, _, _, when in (line.split()[:6] for line in lines if line.lstrip()[:1].isdigit()):
                name = f"{begin}-{int(seq):08x}"
                if kind in ("range", "keepalive") and name in self.seen:
                    complete.append((datetime.datetime.fromisoformat(when).timestamp(), self.seen[name]))
        if not complete:
            fail("no range came while the database was written to")
        complete.sort()
        found, at = [], 0
        for commit in told:
            while at < len(complete) and complete[at][0] < commit:
                at += 1
            if at == len(complete):
                fail("a commit is in no range that came within 2.5 s")
            found.append(complete[at][1] - commit)
        return found


def sqlite(rows, place, options):
    for rate in (500, 5000):
        for _ in range(options.runs):
            work = pathlib.Path(tempfile.mkdtemp(prefix="sqlite-", dir=place))
            database = work / "data.db"
            db = sqlite3.connect(database)
            db.executescript("pragma journal_mode=wal; create table mark(n integer primary key, at real);"
                             "create table wide(id integer primary key, v text);")
            db.executemany("insert into wide values (?, ?)", ((n, "%0150x" % random.getrandbits(600)) for n in range(1, 20001)))
            db.commit()
            db.close()

            def write():
                report = work / "report"
                run(sys.executable, "-c", SQLITE_WRITER, database, report, rate, options.seconds)
                return json.loads(report.read_text())
            alone, logged = write(), logged_bytes(database)
            run("age-keygen", "-o", work / "identity")
            recipient = run("age-keygen", "-y", work / "identity").stdout.strip()
            boat = Boat(work, f'sqlite = {{ path = "{database}", stream = true, window = "1d" }}',
                        key=f'recipient = "{recipient}"\nidentity_file = "{work}/identity"\n')
            boat.run("backup")
            boat.start()
            time.sleep(2)
            before = stored(work / "tier")
            arrivals = Arrivals(work / "tier")
            arrivals.start()
            streamed = write()
            time.sleep(2.5)
            arrivals.over = True
            arrivals.join()
            grown = stored(work / "tier") - before
            name = f"SQLite, {rate} a second"
            rows.add(f"{name}: writer's p99, ms", "alone", alone["p99"] * 1000)
            rows.add(f"{name}: writer's p99, ms", "lifeboat", streamed["p99"] * 1000)
            rows.add(f"{name}: longest write, ms", "alone", alone["max"] * 1000)
            rows.add(f"{name}: longest write, ms", "lifeboat", streamed["max"] * 1000)
            rows.add(f"{name}: reached, of alone", "lifeboat", streamed["rate"] / alone["rate"])
            rows.add(f"{name}: stored bytes a transaction", "lifeboat", grown / len(streamed["told"]))
            rows.add(f"{name}: stored, of the bytes logged", "lifeboat", grown / len(streamed["told"]) / logged)
            boat.end()
            lags = arrivals.lags(streamed["told"], work / "identity")
            rows.add(f"{name}: lag p50, s", "lifeboat", percentile(lags, 0.5))
            rows.add(f"{name}: lag p99, s", "lifeboat", percentile(lags, 0.99))
            rows.add(f"{name}: lag max, s", "lifeboat", max(lags))
            shutil.rmtree(work)


class Rows:
    def __init__(self):
        self.samples, self.sizes = {}, {}

    def add(self, step, tool, value, size=None):
        self.samples.setdefault(step, {}).setdefault(tool, []).append(value)
        if size is not None:
            self.sizes[step, tool] = size
        print(f"{step}, {tool}: {value:.3f}" + (f", {size / 1e6:.1f} MB" if size else ""), file=sys.stderr, flush=True)

    def table(self, options):
        peers = " ".join(run("pgbackrest", "version").stdout.split()) if shutil.which("pgbackrest") else "no pgBackRest"
        own = run(soak_stream.LIFEBOAT, "--version").stdout.strip()
        server = run(BIN / "postgres", "--version").stdout.strip()
        out = [f"{machine()}; medians of {options.runs}; pgbench scale {options.scale}. {own}; {server}; {peers}.", "",
               "| what | tool | value | stored MB |", "|---|---|---|---|"]
        for step, tools in self.samples.items():
            for tool, values in tools.items():
                size = f"{self.sizes[step, tool] / 1e6:.1f}" if (step, tool) in self.sizes else "–"
                out.append(f"| {step} | {tool} | {statistics.median(values):.2f} | {size} |")
        return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="base,catch-up,lag,sqlite")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--dir", default="/dev/shm")
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    soak_stream.LIFEBOAT = os.path.realpath(soak_stream.LIFEBOAT)
    kinds = {"base": base, "catch-up": catch_up, "lag": lag, "sqlite": sqlite}
    rows = Rows()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="lifeboat-live-") as place:
        os.chmod(place, 0o755)
        for name in options.only.split(","):
            if name not in kinds:
                parser.error(f"no such part: {name}; there are {', '.join(kinds)}")
            kinds[name](rows, place, options)
    text = rows.table(options)
    print(text, end="")
    if options.write:
        begin, end = map(re.escape, MARKS)
        old = options.write.read_text()
        new, count = re.subn(f"{begin}.*?{end}", lambda _: MARKS[0] + text + MARKS[1], old, flags=re.S)
        if count != 1:
            sys.exit(f"bench: {options.write} has not one place between the marks")
        options.write.write_text(new)


if __name__ == "__main__":
    main()
