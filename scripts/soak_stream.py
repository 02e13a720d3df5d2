#!/usr/bin/env python3
"""Servers that are killed and wiped while Lifeboat streams their log: what comes back is judged.

scripts/soak_stream.py postgres|sqlite [--seed N] [--rounds 20] [--seconds 60] [--points 10] [--dir DIR]

Each round: a fresh database, a base, `lifeboat stream`, writers at work; `lifeboat stream` is killed
with SIGKILL and started again in between (sqlite always, postgres in every second round); at a random
moment the database is killed with SIGKILL and wiped. Then:

- the newest state is restored: every transaction that a client had been told of more than a second
  before the kill has to be there (the loss is printed for each round, and its p99), each transaction
  whole, none that no client ever asked for;
- as many random instants as there are points (spread over the rounds) are restored: exactly what was
  committed by then, judged by `track_commit_timestamp`; for SQLite by the writer's own clock, to the
  second that a range may take.

LIFEBOAT names the program. Run by `scripts/soak stream`.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BIN = pathlib.Path(os.environ.get("POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
LIFEBOAT = os.environ.get("LIFEBOAT", "target/release/lifeboat")
KEY = "6f1d0b7c2a9e4835b1c07d6e5f4a3928c1b0d9e8f7a6b5c4d3e2f1a09b8c7d6e"
NOBODY = 65534
USER = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def fail(what):
    sys.exit(f"soak: {what}")


def run(*command, check=True, **more):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd=more.pop("cwd", "/"), **more)
    if check and done.returncode:
        fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()


class Boat:
    """A plan, a tier, and the stream of one component."""

    def __init__(self, work, component, dsn=None, key=""):
        self.work, self.stream, self.kills = work, None, 0
        (work / "lifeboat.toml").write_text(
            f'[plan]\nname = "soak"\n[key]\nvault_env = "LIFEBOAT_VAULT_KEY"\n{key}'
            f'[component.data]\n{component}\n[tier.local]\nurl = "{work}/tier"\n')
        self.env = {**os.environ, "LIFEBOAT_VAULT_KEY": KEY, "SOAK_DSN": dsn or ""}
        self.log = open(work / "stream.log", "ab")

    def run(self, *arguments, check=True):
        return run(LIFEBOAT, *arguments, cwd=self.work, env=self.env, check=check)

    def start(self):
        self.stream = subprocess.Popen([LIFEBOAT, "stream", "data"], cwd=self.work, env=self.env,
                                       stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def kill(self):
        self.stream.kill()
        self.stream.wait()
        self.kills += 1

    def end(self):
        """Ends it in the ordinary way; 5 is an interruption that can be gone on from."""
        self.stream.send_signal(signal.SIGTERM)
        try:
            status = self.stream.wait(30)
        except subprocess.TimeoutExpired:
            self.stream.kill()
            fail("the stream did not end within 30 s")
        if status not in (0, 3, 5):
            fail(f"the stream ended with {status}:\n{(self.work / 'stream.log').read_text()[-3000:]}")

    def restored(self, name, at=None):
        target = self.work / name
        more = ["--at", at] if at else []
        began = time.monotonic()
        self.run("restore", "data", "--to", target, *more)
        return target, time.monotonic() - began


# --- PostgreSQL ---------------------------------------------------------------------------------

def own(path):
    if USER:
        run("chown", "-R", f"{NOBODY}:{NOBODY}", path)


class Server:
    """A server on a private socket."""

    def __init__(self, data, socket):
        self.data, self.socket = data, socket
        socket.mkdir(mode=0o700, exist_ok=True)
        own(socket)

    def make(self):
        self.data.mkdir(mode=0o700)
        own(self.data)
        run(*USER, BIN / "initdb", "-D", self.data, "-U", "soak", "-A", "trust", "--no-sync", "-k")
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("track_commit_timestamp = on\nmax_wal_size = 512MB\nwal_level = replica\n")

    def start(self):
        run(*USER, BIN / "pg_ctl", "-D", self.data, "-w", "-t", "120", "-l", self.socket / "log", "-o",
            f"-c listen_addresses='' -c unix_socket_directories={self.socket}", "start")

    def stop(self):
        run(*USER, BIN / "pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def ask(self, sql):
        return run(BIN / "psql", "-XAtq", "-h", self.socket, "-U", "soak", "-d", "postgres", "-c", sql).stdout.strip()

    def kill(self):
        """SIGKILL to the server and to every process of it, at once."""
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        children = pathlib.Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in [first, *map(int, children)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Client(threading.Thread):
    """Writes one transaction after the other, and keeps when it was told that each was committed."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.number, self.asked, self.told, self.over = number, 0, [], False
        self.psql = subprocess.Popen([BIN / "psql", "-XAtq", "-h", server.socket, "-U", "soak", "-d", "postgres"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     text=True, bufsize=1)

    def run(self):
        try:
            while not self.over:
                n = self.asked + 1
                self.asked = n
                # Two rows and a change a transaction: half of it would be seen.
                self.psql.stdin.write(
                    f"begin; insert into mark values ({self.number},{n},1),({self.number},{n},2);"
                    f" update total set sum = sum + 1 where client = {self.number}; commit; \\echo {n}\n")
                self.psql.stdin.flush()
                line = self.psql.stdout.readline()
                if line.strip() != str(n):
                    return
                self.told.append((n, time.time()))
        except (BrokenPipeError, OSError):
            pass


def judge_newest(server, clients, killed):
    """The loss in seconds: the oldest transaction that a client knew of and that is not there."""
    loss, there = 0.0, 0
    for client in clients:
        rows = server.ask(f"select n, count(*) from mark where client = {client.number} group by n order by n")
        found = {}
        for line in rows.splitlines():
            n, halves = map(int, line.split("|"))
            if halves != 2:
                fail(f"transaction {n} of client {client.number} is there by {halves} of 2 rows")
            found[n] = True
        if found and max(found) > client.asked:
            fail(f"client {client.number} never asked for transaction {max(found)}")
        total = int(server.ask(f"select sum from total where client = {client.number}"))
        if total != len(found):
            fail(f"client {client.number} has {len(found)} transactions and a sum of {total}")
        there += len(found)
        missing = [told for n, told in client.told if n not in found]
        if missing:
            loss = max(loss, killed - min(missing))
    if there == 0:
        fail("nothing was restored")
    return loss, there


COMMITTED = "select count(distinct (client, n)) from mark where pg_xact_commit_timestamp(xmin) <= '{}'"


def judge_point(boat, newest, socket, at, number):
    target, seconds = boat.restored(f"point{number}", utc(at))
    expected = int(newest.ask(COMMITTED.format(utc(at))))
    copy = Server(target / "pgdata", socket)
    own(target)
    copy.start()
    found = int(copy.ask("select count(distinct (client, n)) from mark"))
    later = int(copy.ask(f"select count(*) from mark where pg_xact_commit_timestamp(xmin) > '{utc(at)}'"))
    copy.stop()
    shutil.rmtree(target)
    if found != expected or later:
        fail(f"at {utc(at)} there are {found} transactions and {later} later rows, {expected} were committed by then")
    return seconds


def postgres_round(work, dice, options, number, points):
    server = Server(work / "live", work / "socket")
    server.make()
    server.start()
    server.ask("create table mark(client int, n int, half int, primary key (client, n, half));"
               "create table total(client int primary key, sum int); insert into total values (1,0),(2,0);"
               "create user boat replication superuser")
    load = [BIN / "pgbench", "-h", server.socket, "-U", "soak", "-d", "postgres"]
    run(*load[:-2], "-i", "-q", "-s", "5", "postgres")
    boat = Boat(work, 'postgres = { dsn_env = "SOAK_DSN", mode = "physical", stream = true, window = "1d" }',
                f"host={server.socket} user=boat dbname=postgres")
    boat.run("backup")
    boat.start()
    time.sleep(1.5)
    clients = [Client(server, n) for n in (1, 2)]
    bench = subprocess.Popen([*map(str, load[:-2]), "-n", "-c", "2", "-T", str(options.seconds * 2), "postgres"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    began = time.time()
    for client in clients:
        client.start()
    span = options.seconds * (0.5 + dice.random() / 2)
    if number % 2:
        time.sleep(span * dice.random() * 0.6)
        boat.kill()
        time.sleep(dice.random() * 2)
        boat.start()
    time.sleep(max(1.0, began + span - time.time()))
    killed = time.time()
    server.kill()
    shutil.rmtree(server.data, ignore_errors=True)
    for client in clients:
        client.over = True
        client.psql.kill()
    bench.kill()
    bench.wait()
    boat.end()
    target, seconds = boat.restored("newest")
    own(target)
    newest = Server(target / "pgdata", work / "socket2")
    newest.start()
    loss, there = judge_newest(newest, clients, killed)
    took = [judge_point(boat, newest, work / "socket3", dice.uniform(began + 1, killed - 1), n) for n in range(points)]
    newest.stop()
    return loss, there, seconds, took, boat.kills


# --- SQLite -------------------------------------------------------------------------------------

WRITER = r"""
import sqlite3, sys, time
database, report, rate = sys.argv[1], open(sys.argv[2], "w", buffering=1), float(sys.argv[3])
db = sqlite3.connect(database, isolation_level=None, timeout=5)
start, n = time.monotonic(), db.execute("select coalesce(max(n), 0) from mark").fetchone()[0]
first = n
while True:
    n += 1
    before = time.time()
    db.execute("begin immediate")
    db.execute("insert into mark values (?, 1, ?)", (n, before))
    db.execute("insert into mark values (?, 2, ?)", (n, before))
    db.execute("update wide set v = ? where id = ?", (str(n) * 40, n * 7919 % 20000 + 1))
    db.execute("commit")
    report.write(f"{n} {before} {time.time()}\n")
    ahead = start + (n - first) / rate - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
"""


def marks(database):
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    torn = db.execute("select n, count(*) from mark group by n having count(*) <> 2").fetchall()
    if torn:
        fail(f"transaction {torn[0][0]} is there by {torn[0][1]} of 2 rows")
    if db.execute("pragma integrity_check").fetchone()[0] != "ok":
        fail("the restored database is not sound")
    found = {row[0] for row in db.execute("select distinct n from mark")}
    if found and found != set(range(1, max(found) + 1)):
        fail("transactions are missing in the middle")
    db.close()
    return len(found)


def sqlite_round(work, dice, options, number, points):
    database, report = work / "data.db", work / "told"
    db = sqlite3.connect(database)
    db.executescript("pragma journal_mode=wal; create table mark(n int, half int, at real, primary key (n, half));"
                     "create table wide(id integer primary key, v text);")
    db.executemany("insert into wide values (?, ?)", ((n, "x" * 150) for n in range(1, 20001)))
    db.commit()
    db.close()
    boat = Boat(work, f'sqlite = {{ path = "{database}", stream = true, window = "1d" }}')
    boat.run("backup")
    boat.start()
    time.sleep(1.5)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(database), str(report), str(options.rate)])
    began = time.time()
    end = began + options.seconds * (0.5 + dice.random() / 2)
    while time.time() < end - 4:
        time.sleep(min(end - time.time(), dice.uniform(2, 12)))
        boat.kill()
        time.sleep(dice.random() * 1.5)
        boat.start()
    time.sleep(max(2.5, end - time.time()))
    writer.kill()
    writer.wait()
    killed = time.time()
    # The stream sees the data go away under it, as on the worst night.
    boat.kill()
    for path in work.glob("data.db*"):
        path.unlink()
    told = [line.split() for line in report.read_text().splitlines() if line.count(" ") == 2]
    told = [(int(n), float(before), float(after)) for n, before, after in told]
    target, seconds = boat.restored("newest")
    found = marks(target / "data.db")
    if found > told[-1][0] + 1:
        fail(f"transaction {found} was never asked for")
    missing = [after for n, _, after in told if n > found]
    loss = killed - min(missing) if missing else 0.0
    took = []
    for n in range(points):
        at = dice.uniform(began + 2, killed - 1.5)
        copy, second = boat.restored(f"point{n}", utc(at))
        took.append(second)
        count = marks(copy / "data.db")
        late = [n for n, before, _ in told if n <= count and before > at]
        early = [after for n, _, after in told if n > count and after <= at - options.lag]
        if late:
            fail(f"at {utc(at)} there is transaction {late[0]}, which began later")
        if early:
            fail(f"at {utc(at)} a transaction is missing that was committed {at - early[0]:.2f} s before")
        shutil.rmtree(copy)
    return loss, found, seconds, took, boat.kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["postgres", "sqlite"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--rate", type=int, default=500, help="SQLite transactions a second")
    parser.add_argument("--lag", type=float, default=4.0,
                        help="seconds between two ranges while streams are killed and started again")
    parser.add_argument("--dir", default="/dev/shm")
    options = parser.parse_args()
    global LIFEBOAT
    LIFEBOAT = os.path.realpath(LIFEBOAT)
    dice = random.Random(options.seed)
    losses, restores, instants, transactions, kills = [], [], [], 0, 0
    for number in range(options.rounds):
        work = pathlib.Path(tempfile.mkdtemp(prefix="lifeboat-soak-", dir=options.dir))
        work.chmod(0o755)
        points = (number + 1) * options.points // options.rounds - number * options.points // options.rounds
        one = postgres_round if options.engine == "postgres" else sqlite_round
        loss, there, seconds, took, killed = one(work, dice, options, number, points)
        losses.append(loss)
        restores.append(seconds)
        instants += took
        transactions += there
        kills += killed
        print(f"{options.engine}: round {number + 1} of {options.rounds}: {there} transactions back, {loss:.2f} s lost, "
              f"restored in {seconds:.1f} s, {len(took)} instants right", file=sys.stderr, flush=True)
        shutil.rmtree(work)
    losses.sort()
    p99 = losses[min(len(losses) - 1, len(losses) * 99 // 100)]
    print(f"{options.engine}: {options.rounds} rounds, {transactions} transactions back and whole, {kills} streams "
          f"killed in between, loss at most {losses[-1]:.2f} s (median {statistics.median(losses):.2f}), "
          f"{len(instants)} instants exactly right, restores {statistics.median(restores):.1f} s")
    if p99 > 1.0:
        fail(f"more than a second was lost: p99 {p99:.2f} s")


if __name__ == "__main__":
    main()
