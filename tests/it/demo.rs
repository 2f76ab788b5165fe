//! The demo, as `portolan demo --yes` runs it: everything real, figures measured, nothing left behind.

use std::{path::Path, time::Duration};

use portolan::{
    cli::{Demo, Env, Exit, Scenario, Terminal},
    demo::run,
};

struct Ran {
    exit: Exit,
    out: String,
}

fn demo(regions: u8, scratch: &Path) -> Ran {
    let env = Env::from([("TMPDIR".to_owned(), scratch.display().to_string())]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
    let demo = Demo { scenario: Scenario::RegionLoss, yes: true, regions };
    let outcome = run(&demo, &env, &mut terminal);
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

/// What must be true of any run, with the settings of the demo's own plan: interval 2s, two more failures 300ms apart, timeouts of 1s, a
/// time to live of 5s, a slow start of 10s, and a tenth of a second of rounding.
fn check(ran: &Ran, others: &str) {
    let out = ran.out.as_str();
    assert_eq!(ran.exit, Exit::Ok, "{out}");
    assert!(out.contains("PASSED"), "{out}");
    let wide: Vec<&str> = out.lines().filter(|line| line.len() > 100 || !line.is_ascii()).collect();
    assert!(wide.is_empty(), "{wide:#?}");

    let (detected, moved, tail) =
        (time(out, "loss detected after"), time(out, "answers moved after"), time(out, "last old answer expired after"));
    assert!(detected <= Duration::from_millis(5800), "{out}");
    assert!(moved + Duration::from_millis(200) >= detected && moved <= Duration::from_millis(7800), "{out}");
    assert!(tail > detected && tail <= moved + Duration::from_millis(5200), "{out}");
    assert!(out.contains("with the verdict; 100 get eu-west-1\n"), "{out}");
    assert_eq!(figure(out, "clients of other regions moved"), "0", "{out}");
    assert!(out.contains(others), "{out}");

    let (seen, back) = (time(out, "return detected after"), time(out, "all clients back after"));
    assert!(seen <= Duration::from_millis(3500), "{out}");
    assert!(back >= Duration::from_secs(9) && back <= seen + Duration::from_secs(13), "{out}");
    let first: u32 = figure(out, "clients back in us-east-1").strip_suffix('%').unwrap().parse().unwrap();
    assert!((1..100).contains(&first), "{out}");
}

#[test]
fn two_demos_side_by_side_lose_a_region_and_get_it_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (three, two) = std::thread::scope(|scope| {
        let three = scope.spawn(|| demo(3, scratch.path()));
        let two = scope.spawn(|| demo(2, scratch.path()));
        (three.join().unwrap(), two.join().unwrap())
    });
    check(&three, "0   of 200\n");
    check(&two, "0   of 100\n");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in the directory for temporary files");
}

#[test]
fn what_cannot_be_started_is_one_line_and_exit_1() {
    let env = Env::from([("TMPDIR".to_owned(), "/nowhere/to/be/found".to_owned())]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, interactive: false, colour: false };
    let failure = run(&Demo { scenario: Scenario::RegionLoss, yes: true, regions: 2 }, &env, &mut terminal).unwrap_err();
    assert_eq!(failure.exit, Exit::Error);
    assert!(failure.message.starts_with("demo: make a directory for the plan: make `/nowhere/to/be/found/portolan-demo-"), "{failure:?}");
    assert!(!failure.message.contains('\n'), "{failure:?}");
}
