#!/usr/bin/env python3
"""Reads Lifeboat's journals, ledgers and plans without Lifeboat: Python 3, `age` and `zstd`, nothing else.

    open.py object  FILE    one record of a journal, or a file of the log that was handed over
    open.py pack    FILE    a packed object: every slice
    open.py journal FOLDER  TIER/journal/COMPONENT/LINEAGE: chain, gaps
    open.py ledger  FOLDER  TIER/ledger/HOST: entries, checkpoints, evidence
    open.py plan    FILE    TIER/plan/REVISION/KEY.json.zst.age: the plan's files, one after the other

    --identity FILE  for `age -d -i`; `age -d TIER/journal/identity.age` makes it, with the vault key
    --key HEX        a trusted signing key or its fingerprint, several times; else the first one met
    --out FILE       where the log goes, the records' bytes one after the other
    --from P --to P  only records that begin at P or later, end at P or earlier (LINE-OFFSET)

Ends with 0 if all is sound, 9 if something is wrong, 2 if it cannot be read. See docs/format.md.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

MAGIC = b"lifeboat pack 1\n"
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P

class Wrong(Exception): pass  # something is not what it should be

# Ed25519 (RFC 8032), verification only.
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P

def times(s, p):
    q = (0, 1, 1, 0)
    while s:
        q = add(q, p) if s & 1 else q
        p, s = add(p, p), s >> 1
    return q

def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x * pow(2, (P - 1) // 4, P) % P if (x * x - square) % P else x
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P

BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))

def verifies(key, message, signature):
    key, signature = bytes.fromhex(key), bytes.fromhex(signature)
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or times(8, a)[0] == 0:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, a))
    return all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))

def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

def sha256(data):
    return hashlib.sha256(data).hexdigest()

def unseal(sealed, identity):
    for command in (["age", "-d", "-i", identity], ["zstd", "-dc"]):
        done = subprocess.run(command, input=sealed, capture_output=True)
        if done.returncode:
            raise Wrong(f"{command[0]}: {done.stderr.decode(errors='replace').strip()}")
        sealed = done.stdout
    return sealed

class Trust:  # the keys that are believed
    def __init__(self, given):
        self.given, self.known = given, set()

    def believes(self, key):
        if not self.given:
            print(f"key {key} (fingerprint {sha256(bytes.fromhex(key))}): nobody vouches for it")
            self.given.append(key)
        return key in self.known or not {key, sha256(bytes.fromhex(key))}.isdisjoint(map(str.lower, self.given))

    def document(self, signed, what, domain):  # refuses likewise
        by, signature = signed["key"], signed["signature"]
        if not verifies(by, domain + canonical(signed["document"]), signature) or not self.believes(by):
            raise Wrong(f"{what}: its signature, by key {by}, is not believed")
        return signed["document"]

    def signer(self, entry, domain):  # refuses what nobody who is believed signed
        message = domain + canonical({name: entry[name] for name in entry if name != "signature"})
        certificate = entry.get("certificate")
        if certificate:
            stream = self.document(certificate, "its certificate", b"lifeboat stream key 1\n")
            if stream["component"] != entry["chain"].split("/")[1]:
                raise Wrong("its certificate is of another component")
            keys = [stream["key"]]
        else:
            keys = [entry["key"]] if entry.get("key") else sorted(self.known | set(self.given))
        signed = [key for key in keys if verifies(key, message, entry["signature"])]
        if not signed or not certificate and not self.believes(signed[0]):
            raise Wrong(f"its signature, by key {signed or 'unknown'}, is not believed")
        self.known |= set() if certificate else set(signed)

def read_line(line, what):
    entry = json.loads(line)
    found = entry.get("document", entry).get("format", 0)
    if found > 1:
        raise Wrong(f"{what} has format {found}, this program reads format 1")
    if canonical(entry) != line:
        raise Wrong(f"{what} is not in canonical form")
    return entry

def open_record(sealed, args, trust, chain=None, name=None):
    line, _, payload = unseal(sealed, args.identity).partition(b"\n")
    header = read_line(line, "the header")
    if "document" in header:  # handed over by the server itself
        header = {"seq": 0, "kind": "handed"} | trust.document(header, "it", b"lifeboat wal 1\n")
        if header["name"] != (name or args.path.name):
            raise Wrong(f"it is {header['name']} of {header['chain']}")
    else:
        own = f"{header['from']}-{header['seq']:08x}"
        if (chain and header["chain"] != chain) or (name and own != name):
            raise Wrong(f"it is {own} of {header['chain']}")
        trust.signer(header, b"lifeboat journal 1\n")
    if header["bytes"] != len(payload) or header["sha256"] != sha256(payload):
        raise Wrong("its content is not that of its header")
    return header, sha256(line), payload

def slices(pack, args):
    if not pack.endswith(MAGIC):
        raise Wrong(f"its end is not that of a pack of format 1: {pack[-16:]!r}")
    begin = len(pack) - 24 - int.from_bytes(pack[-24:-16], "big")
    index = read_line(unseal(pack[begin:-24], args.identity), "the index")
    for entry in index["slices"]:
        body = pack[entry["offset"]:entry["offset"] + entry["length"]]
        if sha256(body) != entry["sha256"]:
            raise Wrong(f"slice {entry['name']} is changed")
        yield entry["name"], body

def show(header):
    print(f"{header['seq']:>8} {header['kind']:<9} {header['from']} to {header['to']} {header['time']} "
          f"{header['bytes']} bytes {header.get('facts', {}).get('why', '')}".rstrip())  # why: of a gap

def follows(before, after):  # a branch may leave its line before that ended
    left = after["kind"] == "branch" and after["from"][:8] == before["to"][:8]
    return after["from"] == before["to"] or (left and after["from"] < before["to"])

def journal(folder, args, trust, wrong):
    """Follows the chain through loose and packed records, and yields them in order."""
    chain, found = "/".join(folder.resolve().parts[-3:]), {}
    for file in sorted(folder.glob("packs/*")) + sorted(folder.glob("ranges/*")):
        try:
            body, alone = file.read_bytes(), file.parent.name == "ranges"
            for name, sealed in [(file.name, body)] if alone else slices(body, args):
                record = open_record(sealed, args, trust, chain, name)
                found.setdefault(record[0]["seq"], {})[record[1]] = record
        except (Wrong, ValueError, KeyError) as why:
            wrong(f"{file.name}: {why}")
    if not found:
        raise Wrong(f"no record in {folder}")
    # Backwards from the newest line, then the longest chain: what is beside it is named.
    ends = [record for records in found.values() for record in records.values()]
    way = [max(ends, key=lambda record: (record[0]["to"][:8], record[0]["seq"]))]
    while way[-1][0]["seq"] > min(found):
        below, seq = way[-1][0], way[-1][0]["seq"] - 1
        before = found.get(seq, {}).get(below["prev"])
        if before is None or not follows(before[0], below):
            wrong(f"number {below['seq']} does not follow what is there of number {seq}")
            break
        way.append(before)
    if len(way) != len(ends):
        wrong(f"{len(ends) - len(way)} records are not on the way")
    yield from reversed(way)

def ledger(folder, args, trust, wrong):
    before, kept = ("0" * 64, 0), {}
    for file in sorted(folder.glob("entries/*")):
        for line in unseal(file.read_bytes(), args.identity).splitlines():
            entry = read_line(line, "an entry")
            trust.signer(entry, b"lifeboat chain 1\n")
            trust.known |= {entry["next_key"]} if entry.get("next_key") else set()
            if (entry["prev"], entry["seq"]) != (before[0], before[1] + 1):
                wrong(f"entry {entry['seq']} does not follow entry {before[1]}")
            before = (sha256(line), entry["seq"])
            kept[entry["seq"]] = before[0]
            named = entry.get("detail", {}).get("evidence")
            if named:
                body = folder / "evidence" / f"{named['id']}.json.zst.age"
                if not body.exists() or sha256(unseal(body.read_bytes(), args.identity)) != named["sha256"]:
                    wrong(f"the evidence {named['id']} of entry {entry['seq']} is gone or changed")
    for kind, domain in (("checkpoints", b"lifeboat checkpoint 1\n"), ("evidence", b"lifeboat evidence 1\n")):
        for file in sorted(folder.glob(f"{kind}/*")):
            try:
                line = unseal(file.read_bytes(), args.identity)
                document = trust.document(read_line(line, file.name), file.name, domain)
                if kind == "checkpoints" and kept.get(document["seq"]) != document["head"]:
                    wrong(f"{file.name}: entry {document['seq']} is gone or another one")
            except Wrong as why:
                wrong(str(why))
    print(f"{len(kept)} entries, the newest {before[1]} with hash {before[0]}")

def plan(file, args, trust, wrong):
    signed = read_line(unseal(file.read_bytes(), args.identity), "the plan")
    for text in trust.document(signed, "the plan", b"lifeboat plan 1\n")["files"]:
        print(f"# {text['name']}\n{text['text']}")

def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for names, options in (
        (["what"], {"choices": ["object", "pack", "journal", "ledger", "plan"]}),
        (["path"], {"type": pathlib.Path}), (["--identity"], {"required": True}),
        (["--key"], {"action": "append", "default": []}), (["--out"], {"type": argparse.FileType("wb")}),
        (["--from"], {"dest": "first", "default": ""}), (["--to"], {"dest": "last", "default": "~"}),
    ):
        parser.add_argument(*names, **options)
    args = parser.parse_args()
    trust, faults = Trust(args.key), []
    def wrong(text):
        faults.append(text)
        print(f"WRONG {text}", file=sys.stderr)
    try:
        if args.what in ("ledger", "journal", "plan"):
            records = globals()[args.what](args.path, args, trust, wrong) or []
        else:
            body = args.path.read_bytes()
            held = [(None, body)] if args.what == "object" else slices(body, args)
            records = (open_record(sealed, args, trust, None, name) for name, sealed in held)
        for header, _, payload in records:
            show(header)
            inside = args.first <= header["from"] and header["to"] <= args.last
            if args.out and header["kind"] in ("range", "handed") and inside:
                args.out.write(payload)
    except Wrong as why:
        wrong(str(why))
    except (OSError, ValueError, KeyError) as why:
        print(f"cannot read {args.path}: {why}", file=sys.stderr)
        return 2
    return 9 if faults else 0

if __name__ == "__main__":
    sys.exit(main())
