#!/usr/bin/env python3
"""One region as an agent sees it where CloudNativePG runs: a stand-in for the API server, the operator and the instance manager, over a real
PostgreSQL server. For tests.

cluster.py DIRECTORY NAME BIN API_PORT PORT

The API server has one object, in DIRECTORY/object.json: GET and merge-PATCH with the token in DIRECTORY/token, a version that each change raises, a
change of another version refused, and of what the operator's webhook refuses so much as matters here. The operator and the instance manager do what
those of 1.30 do with `spec.replica` and `cnpg.io/fencedInstances`, in that order; the token of a demotion is made of what pg_controldata says. While
DIRECTORY/asleep is there, the operator does nothing, and the instance manager goes on.

What this does not have: more than one instance, failover inside a region, pods, archives, promotion tokens, admission by anything else.
"""
import base64, copy, json, os, ssl, subprocess, sys, threading, time, traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY, NAME, BIN, API_PORT, PORT = sys.argv[1:6]
DATA, OBJECT, POD = DIRECTORY + "/data", DIRECTORY + "/object.json", NAME + "-1"
PATH = f"/apis/postgresql.cnpg.io/v1/namespaces/db/clusters/{NAME}"
FENCED = "cnpg.io/fencedInstances"

# Between two rounds of the operator, which looks every second; a test is in a hurry.
ROUND_SECONDS = 0.1

# `switchoverDelay`: a fast shutdown may last so long, then comes an immediate one.
SWITCHOVER_DELAY = 3

lock = threading.RLock()


def read():
    with lock:
        return json.load(open(OBJECT))


def write(new):
    """The store: each change is a new version."""
    new["metadata"]["resourceVersion"] = str(int(new["metadata"]["resourceVersion"]) + 1)
    with open(OBJECT + ".new", "w") as file:
        json.dump(new, file)
    os.rename(OBJECT + ".new", OBJECT)


def change(edit):
    """By the operator or the instance manager."""
    with lock:
        new = read()
        edit(new)
        if new != read():
            write(new)


def lay(onto, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    onto = dict(onto) if isinstance(onto, dict) else {}
    for key, value in patch.items():
        if value is None:
            onto.pop(key, None)
        else:
            onto[key] = lay(onto.get(key), value)
    return onto


# What the operator's source says of an object (api/v1/cluster_funcs.go, pkg/reconciler/replicaclusterswitch).

def is_replica(object):
    replica = object["spec"].get("replica")
    if replica is None:
        return False
    if "enabled" in replica:
        return replica["enabled"]
    return (replica.get("self") or NAME) != replica.get("primary", "")


def is_fenced(object):
    names = json.loads(object["metadata"].get("annotations", {}).get(FENCED, "[]"))
    return "*" in names or POD in names


def external(object, name):
    return next((it for it in object["spec"].get("externalClusters", []) if it["name"] == name), None)


def transition(object):
    return object["status"].get("conditions", {}).get("ReplicaClusterDesignatedPrimaryTransition")


def refusal(old, new):
    """What its webhook says against a change, if anything."""
    replica = new["spec"].get("replica")
    if is_replica(old) != is_replica(new) and new["status"].get("switchReplicaClusterStatus", {}).get("inProgress"):
        return "cannot modify the field while there is an ongoing operation to enable the replica cluster"
    if replica is None:
        return None
    if replica.get("primary") and "enabled" in replica:
        return "replica mode enabled is not compatible with the primary field"
    if not replica.get("source"):
        return "spec.replica.source: Required value"
    for key in ("source", "self", "primary"):
        if replica.get(key) and not external(new, replica[key]):
            return f"External cluster {replica[key]} not found"
    if replica.get("promotionToken") and is_replica(new):
        return "promotionToken is only allowed for primary clusters"
    return None


# The server, as its instance manager runs it.

def run(program, *arguments):
    return subprocess.run([f"{BIN}/{program}", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def is_up():
    return run("pg_ctl", "-D", DATA, "status").returncode == 0


def is_primary():
    """By its signal file, as the instance manager tells it of one that does not run."""
    return not os.path.exists(DATA + "/standby.signal")


def start():
    options = f"-c port={PORT} -c listen_addresses=127.0.0.1 -c unix_socket_directories={DIRECTORY} -c logging_collector=off"
    with open(DIRECTORY + "/server.log", "a") as log:
        command = [f"{BIN}/pg_ctl", "-D", DATA, "-w", "-t", "20", "-o", options, "start"]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def stop():
    if run("pg_ctl", "-D", DATA, "-w", "-t", str(SWITCHOVER_DELAY), "-m", "fast", "stop").returncode:
        run("pg_ctl", "-D", DATA, "-w", "-t", "20", "-m", "immediate", "stop")


def control():
    lines = run("pg_controldata", "-D", DATA).stdout.splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def follow(object):
    """Writes whom it receives from; whether that is another one by now."""
    parameters = external(object, object["spec"]["replica"]["source"]).get("connectionParameters", {})
    text = "".join(f"{key}='{value}' " for key, value in sorted(parameters.items()))
    text = "primary_conninfo = '" + text.replace("'", "''") + "'\n"
    path = DATA + "/override.conf"
    if os.path.exists(path) and open(path).read() == text:
        return False
    with open(path, "w") as file:
        file.write(text)
    return True


def manage():
    """A round of the instance manager."""
    object, up = read(), is_up()
    if is_fenced(object):
        if up:
            return stop()
        if is_replica(object) and transition(object) == "False" and object["status"]["currentPrimary"] == POD:
            open(DATA + "/standby.signal", "w").close()
            follow(object)

            def completed(new):
                new["status"]["conditions"]["ReplicaClusterDesignatedPrimaryTransition"] = "True"
            change(completed)
        return
    if not is_primary() and is_replica(object) and follow(object) and up:
        run("pg_ctl", "-D", DATA, "reload")
    if not up:
        return start()
    if not is_primary() and not is_replica(object):
        run("pg_ctl", "-D", DATA, "-w", "-t", "20", "promote")


def operate():
    """A round of the operator."""
    object, said = read(), control()

    def seen(new):
        new["status"]["instancesReportedState"] = {
            POD: {"isPrimary": is_primary(), "timeLineID": int(said["Latest checkpoint's TimeLineID"]), "ip": "127.0.0.1"}
        }
        new["status"].update({"instanceNames": [POD], "currentPrimary": POD, "targetPrimary": POD})
        new["status"].update({"systemID": said["Database system identifier"], "timelineID": int(said["Latest checkpoint's TimeLineID"])})
        if not is_replica(new):
            new["status"].pop("demotionToken", None)
    change(seen)
    if not is_replica(object):
        return
    if transition(object) == "True":
        if said["Database cluster state"] not in ("shut down", "shut down in recovery"):
            return
        token = {
            "latestCheckpointTimelineID": said["Latest checkpoint's TimeLineID"],
            "redoWalFile": said["Latest checkpoint's REDO WAL file"],
            "databaseSystemIdentifier": said["Database system identifier"],
            "latestCheckpointREDOLocation": said["Latest checkpoint's REDO location"],
            "timeOfLatestCheckpoint": said["Time of latest checkpoint"],
            "operatorVersion": "1.30.0",
        }

        def token_written(new):
            new["status"]["demotionToken"] = base64.b64encode(json.dumps(token).encode()).decode()
        change(token_written)

        def over(new):
            new["metadata"]["annotations"].pop(FENCED, None)
            new["status"]["conditions"] = {}
            new["status"]["switchReplicaClusterStatus"] = {"inProgress": False}
        change(over)
    elif transition(object) is None and is_primary():
        def begun(new):
            new["metadata"].setdefault("annotations", {})[FENCED] = '["*"]'
            new["status"]["conditions"] = {"ReplicaClusterDesignatedPrimaryTransition": "False"}
            new["status"]["switchReplicaClusterStatus"] = {"inProgress": True}
        change(begun)


def forever(work):
    while True:
        try:
            work()
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
        time.sleep(ROUND_SECONDS)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        octets = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def refuse(self, status, message):
        self.answer(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status})

    def is_let_in(self):
        if self.headers.get("Authorization") != "Bearer " + open(DIRECTORY + "/expected").read().strip():
            self.refuse(401, "Unauthorized")
        elif self.path != PATH:
            self.refuse(404, f"clusters.postgresql.cnpg.io \"{self.path.rsplit('/', 1)[1]}\" not found")
        else:
            return True

    def do_GET(self):
        if self.is_let_in():
            self.answer(200, read())

    def do_PATCH(self):
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_let_in():
            return
        if self.headers.get("Content-Type") != "application/merge-patch+json":
            return self.refuse(415, "the body of the request was in an unknown format")
        patch = json.loads(octets)
        patch.pop("status", None)
        with lock:
            old = read()
            version = patch.get("metadata", {}).pop("resourceVersion", None)
            if version not in (None, old["metadata"]["resourceVersion"]):
                return self.refuse(409, "the object has been modified; please apply your changes to the latest version and try again")
            new = lay(copy.deepcopy(old), patch)
            if why := refusal(old, new):
                return self.refuse(422, "admission webhook \"vcluster.cnpg.io\" denied the request: " + why)
            if new != old:
                write(new)
            self.answer(200, new)

    def log_message(self, *arguments):
        pass


with open(DATA + "/postgresql.conf") as conf:
    if "override.conf" not in conf.read():
        with open(DATA + "/postgresql.conf", "a") as more:
            more.write("include_if_exists = 'override.conf'\n")
threading.Thread(target=forever, args=(manage,), daemon=True).start()
threading.Thread(target=forever, args=(lambda: os.path.exists(DIRECTORY + "/asleep") or operate(),), daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", int(API_PORT)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(DIRECTORY + "/api-cert.pem", DIRECTORY + "/api-key.pem")
# The handshake is its thread's, so that a client which says nothing holds nobody up.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
