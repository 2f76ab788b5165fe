# The two commands that matter: `make demo` shows the main job, `make test` proves it. Both do their own set-up.
.PHONY: demo test regions lint soak bench setup

demo:
	cargo run --quiet --bin portolan -- demo $(DEMO)

# A quarter of an hour on two idle cores after the build: most tests wait for servers, so more of them run than there are cores. Regions apart are real
# processes 80 ms from each other, or where no network namespaces can be made daemons over relays; those and failovers of whole trios of databases have
# nothing that computes beside them. Marks are held against clocks of the test by themselves: what is measured is not how busy the machine is.
# The readers of foreign octets come last, on their own: they take every core, and beside them probes with short timeouts would time out.
test: setup
	cargo test --workspace --locked -- --test-threads=6 --skip fuzz:: --skip regions:: --skip daemon::apart --skip daemon::automatic \
		--skip daemon::boundaries --skip daemon::clocks --skip daemon::control_loss --skip daemon::drills \
		--skip daemon::evacuation --skip daemon::hooks --skip daemon::load --skip daemon::marks --skip daemon::rejoin \
		--skip daemon::seed --skip daemon::setback --skip daemon::validation
	cargo test --locked --test it -- --test-threads=6 regions:: daemon::apart daemon::automatic daemon::boundaries \
		daemon::clocks daemon::control_loss daemon::drills daemon::evacuation daemon::hooks daemon::load daemon::rejoin \
		daemon::seed daemon::setback daemon::validation
	cargo test --locked --test it daemon::marks
	cargo test --locked --test it fuzz::

# Regions apart alone, telling what clients were given. PORTOLAN_REGIONS=loopback takes relays in any case.
regions: setup
	cargo test --locked --test it regions:: -- --test-threads=1 --nocapture

# What the tests run against beside our own code: dig, a validating, subnet-aware resolver, PostgreSQL, MariaDB, Prometheus, Patroni and etcd,
# from Debian's packages; libfaketime, a wall clock of a process' own; moto, an S3 store.
setup:
	sh tests/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Long runs: more cases for each property, then each reader of foreign octets under a coverage-guided fuzzer (needs a nightly toolchain and
# installs cargo-fuzz). SOAK_CASES is per property, 256 in `make test`; SOAK_MINUTES is per fuzz target and may be a fraction. SOAK_TARGETS picks
# some of them; none named: all. SOAK_HOURS is of simulated clusters, over an ideal log; about 7,500 of them pass in an hour on two cores.
# SOAK_GROUPS is of schedules of a data group: failovers, switchovers, cancels under all faults; 100,000 take about a quarter of an hour.
# SOAK_RAFT_HOURS is of three voters and six observers over the real consensus, with ten faults an hour; 300 take about a quarter of an hour on two cores.
# What takes its time with default settings (a quarter of an hour without a majority, a region that flaps for twenty minutes, failovers under load)
# runs beside each other.
# With the defaults about five hours: make soak SOAK_CASES=2000 SOAK_MINUTES=0.5 SOAK_HOURS=500 is the short form.
SOAK_CASES ?= 8000
SOAK_MINUTES ?= 10
SOAK_TARGETS ?=
SOAK_HOURS ?= 10000
SOAK_RAFT_HOURS ?= 300
SOAK_GROUPS ?= 100000
soak: setup
	PROPTEST_CASES=$(SOAK_CASES) PROPTEST_MAX_GLOBAL_REJECTS=1000000 $(MAKE) test
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true SIM_HOURS=$(SOAK_HOURS) SIM_EPISODES=40 \
		cargo test --release --locked -p portolan-core --test sim ideal_log
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true FAILOVER_SEEDS=0..$(SOAK_GROUPS) \
		cargo test --release --locked -p portolan-core --lib failover_holds_in_all_schedules
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true SIM_HOURS=$(SOAK_RAFT_HOURS) SIM_EPISODES=20 \
		cargo test --release --locked --test sim_raft over_raft
	APART=default cargo test --locked --test it -- --test-threads=4 daemon::apart::a_time_without daemon::apart::a_region_that_flaps \
		daemon::load
	sh tests/fuzz/run.sh $(SOAK_MINUTES) $(SOAK_TARGETS)

# Costs and times beside their targets, in one table; about 45 minutes after the build, on an idle machine. BENCH_MINUTES is for the flapping run;
# PORTOLAN_BENCH_RUNS failovers are made of PostgreSQL under Portolan and under Patroni, and of Redis under Portolan and under Sentinel; 20 each.
BENCH_MINUTES ?= 10
bench:
	sh tests/bench/run.sh $(BENCH_MINUTES)
