#!/usr/bin/env python3
"""A manager of a fake database, led by the contract of `engine: exec`: for tests, and to read beside the contract.

manager.py PORTOLAN DIRECTORY LISTEN NAME VERB < {"token": …, …}

It starts the server in a session of its own, keeps the highest token and whether the database is fenced in a file beside the database, and refuses
a lower token. `boot` is what the machine's own service would do; it starts what is there, and never for writes while it is fenced.

It may be killed at any moment, as every program of that contract. So the server itself notes its number, and holds a lock on that file while it runs.
"""
import fcntl, json, os, signal, socket, subprocess, sys, time

PORTOLAN, DIRECTORY, LISTEN, NAME, VERB = sys.argv[1:6]
DATA, STATE, PID = DIRECTORY + "/data", DIRECTORY + "/manager.json", DIRECTORY + "/manager.pid"
REFUSED = 77

# A server that stops takes no writes, and ships the rest to its standbys; one that cannot is killed after so long.
CLEAN_STOP_SECONDS = 1.5


def refuse(why):
    print(why, file=sys.stderr)
    sys.exit(REFUSED)


def place(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def state():
    try:
        return json.load(open(STATE))
    except FileNotFoundError:
        return {"highest": [0, 0], "fenced": False, "system": 0}


def change(**what):
    place(STATE, json.dumps({**state(), **what}))


def ask(at, what):
    host, port = at.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall((json.dumps(what) + "\n").encode())
        line = connection.makefile().readline()
    told = json.loads(line)
    if "refused" in told:
        sys.exit("the database refused: " + told["refused"])
    return told


def status(at=LISTEN):
    return ask(at, "status")["status"]


def answers():
    try:
        return status()
    except OSError:
        return None


def is_locked(file, how):
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True


def process():
    """Its number, if it runs."""
    with open(PID, "a+") as file:
        # It has the lock before it has written its number.
        while is_locked(file, fcntl.LOCK_SH):
            file.seek(0)
            if (text := file.read()).endswith("\n"):
                return int(text)
            time.sleep(0.001)


def until(is_so, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def start():
    with open(PID, "a+") as file:
        # Who only looks has it for a moment.
        while is_locked(file, fcntl.LOCK_EX):
            if process() is not None:
                break
        else:
            file.truncate(0)
            os.dup2(file.fileno(), 9)
            note = 'echo $$ >&9; exec "$@"'
            command = ["sh", "-c", note, "sh", PORTOLAN, "fake", "serve", "--directory", DATA, "--listen", LISTEN]
            with open(DIRECTORY + "/serve.log", "a") as log:
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[9])
            os.close(9)
    if not until(answers, 10):
        sys.exit("the server does not answer")
    change(system=status()["head"]["system"])


def stop():
    number = process()
    if number is None:
        return
    os.kill(number, signal.SIGTERM)
    if not until(lambda: process() is None, CLEAN_STOP_SECONDS):
        os.kill(number, signal.SIGKILL)
        until(lambda: process() is None, 10)


def mark():
    place(DATA + "/standby.signal", "")


def receive_from(upstream):
    at = upstream and {"region": upstream["region"], "address": f"{upstream['host']}:{upstream['port']}", "named": NAME}
    place(DATA + "/settings.json", json.dumps({"upstream": at, "synchronous": ""}))
    if answers():
        ask(LISTEN, "reload")


def fence():
    # First so that nothing starts it for writes, then so that nothing writes.
    mark()
    change(fenced=True)
    now = answers()
    if now is None or not now["is_standby"]:
        stop()
    receive_from(None)
    start()


def parted(own, there):
    """Up to where both have the same."""
    line = lambda head, end: [(left["timeline"], left["at"]) for left in head["history"]["left"]] + [(head["history"]["timeline"], end)]
    common = 0
    for (mine, ends), (theirs, goes_on) in zip(line(own, own["end"]), line(there, float("inf"))):
        if mine != theirs:
            break
        common = min(ends, goes_on)
        if ends != goes_on:
            break
    return common


def rejoin(upstream):
    if not (now := answers()) or not now["is_standby"]:
        refuse("it takes writes, or does not answer: it is fenced first")
    there = status(f"{upstream['host']}:{upstream['port']}")["head"]
    own = now["head"]
    if there["system"] != own["system"]:
        refuse("it is another database")
    common = parted(own, there)
    if own["end"] > common:
        receive_from(None)
        stop()
        with open(DATA + "/log.jsonl", "rb+") as log:
            log.seek(common)
            with open(DIRECTORY + "/put-aside.jsonl", "ab") as aside:
                aside.write(log.read())
            log.truncate(common)
    mark()
    start()
    receive_from(upstream)
    change(fenced=False)


def probe():
    now = answers()
    if now is None:
        is_down = process() is None
        return {"role": "stopped" if is_down else "unknown", "system": state()["system"], "fenced": state()["fenced"] and is_down}
    head, opening, silent = now["head"], now["head"]["opening"], now["silent_for"]
    return {
        "role": "replica" if now["is_standby"] else "primary",
        "system": head["system"],
        "timeline": head["history"]["timeline"],
        "position": head["end"],
        "applied": head["end"],
        "receives_from": now["upstream"] if now["is_standby"] else None,
        "streams": silent is not None,
        "silent_ms": 0 if silent is None else silent["secs"] * 1000 + silent["nanos"] // 1_000_000,
        "fenced": state()["fenced"] and now["is_standby"],
        "opening": opening and {**opening["token"], "at": opening["at"]},
        "runs": NAME,
    }


if VERB == "boot":
    start()
    sys.exit()
if VERB == "probe":
    print(json.dumps(probe()))
    sys.exit()
if VERB == "beat":
    sys.exit()

call = json.load(sys.stdin)
token = [call["token"]["generation"], call["token"]["epoch"]]
if token < state()["highest"]:
    refuse(f"{token} is below {state()['highest']}")
change(highest=token)
if VERB == "fence":
    fence()
elif VERB == "seal":
    receive_from(None)
elif VERB == "unseal":
    change(fenced=False)
elif VERB == "drain":
    pass  # What is received is shown at once.
elif VERB == "promote":
    if state()["fenced"]:
        refuse("it is fenced")
    start()
    if status()["is_standby"]:
        ask(LISTEN, {"reserve": call["above"]})
        ask(LISTEN, "promote")
elif VERB == "verify":
    ask(LISTEN, {"sign": token})
elif VERB == "rejoin":
    rejoin(call["upstream"])
else:
    sys.exit(f"`{VERB}` is no verb")
