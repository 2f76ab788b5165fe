//! The demo, as `portolan demo --yes` runs it: everything real, figures measured, nothing left behind.
//!
//! The demo checks most of what it shows by itself and fails otherwise; here it is held against the settings once more, from outside.

use std::{path::Path, time::Duration};

use portolan::{
    cli::{DataKind, Demo, Env, Exit, Scenario, Terminal},
    demo::run,
};

struct Ran {
    exit: Exit,
    out: String,
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_portolan"))
}

fn demo(scenario: Scenario, regions: u8, data: Option<DataKind>, scratch: &Path) -> Ran {
    let env = Env::from([("TMPDIR".to_owned(), scratch.display().to_string())]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
    let demo = Demo { scenario, yes: true, regions, data };
    let outcome = run(&demo, program(), &env, &mut terminal);
    let out = String::from_utf8(out).unwrap();
    let exit = outcome.unwrap_or_else(|failure| panic!("{}\n{out}", failure.message));
    assert!(err.is_empty());
    Ran { exit, out }
}

/// The figure of a line of the report.
fn figure<'a>(out: &'a str, what: &str) -> &'a str {
    let (_, report) = out.split_once("\nREPORT\n").expect("a report");
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix(what)).unwrap_or_else(|| panic!("no `{what}` in\n{report}"));
    line.split_whitespace().next().unwrap()
}

fn time(out: &str, what: &str) -> Duration {
    let text = figure(out, what);
    Duration::from_secs_f64(text.strip_suffix('s').unwrap().parse().unwrap())
}

fn fits(ran: &Ran) {
    let out = ran.out.as_str();
    assert_eq!(ran.exit, Exit::Ok, "{out}");
    assert!(out.contains("PASSED"), "{out}");
    let wide: Vec<&str> = out.lines().filter(|line| line.len() > 100 || !line.is_ascii()).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(figure(out, "DNS answers received").parse::<u32>().unwrap() > 1000, "{out}");
    assert!(out.contains("questions; 0 clients had to go without\n"), "{out}");
}

/// What must be true of any loss, with the settings of the demo's own plan: interval 2s, two more failures 300ms apart, timeouts of 1s, a
/// time to live of 5s, a slow start of 10s, five seconds for a busy machine, and a tenth of a second of rounding.
fn check_loss(ran: &Ran, others: &str) {
    fits(ran);
    let out = ran.out.as_str();
    let (detected, moved, tail) =
        (time(out, "loss detected after"), time(out, "answers moved after"), time(out, "last old answer expired after"));
    assert!(detected <= Duration::from_millis(10_800), "{out}");
    assert!(moved + Duration::from_millis(300) >= detected && moved <= Duration::from_secs(16), "{out}");
    assert!(tail > Duration::from_secs(4) && tail <= moved + Duration::from_millis(5200), "{out}");
    assert!(out.contains("with the verdict; 100 get eu-west-1\n"), "{out}");
    assert_eq!(figure(out, "clients of other regions moved"), "0", "{out}");
    assert!(out.contains(others), "{out}");
    assert!(
        time(out, "without a leader for") >= Duration::from_secs(2),
        "silence of 3s, of which a heartbeat may have been in the last half: {out}"
    );
    assert!(out.contains("use1-a led, ") && !out.contains("use1-a does;"), "{out}");

    let (seen, back) = (time(out, "return detected after"), time(out, "all clients back after"));
    assert!(seen <= Duration::from_millis(8500), "{out}");
    assert!(back >= Duration::from_secs(9) && back <= seen + Duration::from_secs(16), "{out}");
    let first: u32 = figure(out, "clients back in us-east-1").strip_suffix('%').unwrap().parse().unwrap();
    assert!((1..100).contains(&first), "{out}");
}

/// The primary went with its region: the name led to another one when the lease had ended, 12s by the plan, and the old one followed it later.
fn check_data(ran: &Ran, engine: &str) {
    let out = ran.out.as_str();
    assert!(out.contains(&format!("data group orders, {engine}")), "{out}");
    assert!(out.contains("now in eu-west-1\n") && out.contains("- **Ended**: succeeded at "), "{out}");
    let interrupted = time(out, "writes interrupted for");
    assert!(interrupted > Duration::from_secs(12) && interrupted < Duration::from_secs(60), "{out}");
    assert!(time(out, "old primary followed after") < Duration::from_secs(60), "{out}");
}

fn check_partition(ran: &Ran, clients: &str) {
    fits(ran);
    let out = ran.out.as_str();
    for nobody in ["withdrawals of healthy regions", "withdrawals by the cut-off side", "clients led away from home"] {
        assert_eq!(figure(out, nobody), "0", "{nobody}: {out}");
    }
    assert!(out.contains(clients), "{out}");
    assert!(out.contains("use1-a: 1 of 3 regions heard, blind") && out.contains("use1-b: no_quorum"), "{out}");
    assert!(out.contains("[NO_QUORUM]") && out.contains("on reachable nodes only"), "{out}");
    assert!(time(out, "others have a leader after") >= Duration::from_secs(3), "{out}");
}

#[test]
fn two_demos_side_by_side_lose_a_region_and_get_it_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (three, two) = std::thread::scope(|scope| {
        let three = scope.spawn(|| demo(Scenario::RegionLoss, 3, Some(DataKind::Postgresql), scratch.path()));
        let two = scope.spawn(|| demo(Scenario::RegionLoss, 2, Some(DataKind::Fake), scratch.path()));
        (three.join().unwrap(), two.join().unwrap())
    });
    check_data(&three, "real PostgreSQL");
    assert_eq!(figure(&three.out, "acknowledged writes lost"), "0", "{}", three.out);
    check_data(&two, "the fake");
    check_loss(&three, "0   of 200\n");
    check_loss(&two, "0   of 100\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in the directory for temporary files");
}

#[test]
fn a_region_that_is_cut_off_serves_its_own_and_becomes_one_with_the_others_again() {
    let scratch = tempfile::tempdir().unwrap();
    let (three, two) = std::thread::scope(|scope| {
        let three = scope.spawn(|| demo(Scenario::Partition, 3, Some(DataKind::Postgresql), scratch.path()));
        let two = scope.spawn(|| demo(Scenario::Partition, 2, None, scratch.path()));
        (three.join().unwrap(), two.join().unwrap())
    });
    check_partition(&three, "of 300, mending included\n");
    check_data(&three, "real PostgreSQL");
    let out = three.out.as_str();
    let (ended, promoted) = (time(out, "cut-off primary ended after"), time(out, "another one was promoted after"));
    assert!(ended <= Duration::from_secs(12) && promoted > ended, "{out}");
    assert_eq!(figure(out, "acknowledged writes lost"), "0", "{out}");
    check_partition(&two, "of 200, mending included\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in the directory for temporary files");
}

#[test]
fn what_cannot_be_started_is_one_line_and_exit_1() {
    let env = Env::from([("TMPDIR".to_owned(), "/nowhere/to/be/found".to_owned())]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
    let failure =
        run(&Demo { scenario: Scenario::RegionLoss, yes: true, regions: 2, data: None }, program(), &env, &mut terminal).unwrap_err();
    assert_eq!(failure.exit, Exit::Error);
    assert!(failure.message.starts_with("demo: make a directory for the plan: make `/nowhere/to/be/found/portolan-demo-"), "{failure:?}");
    assert!(!failure.message.contains('\n'), "{failure:?}");
}
