//! `portolan check`: looks for what is wrong or will be, and says what to do about each.
//!
//! ```text
//!            .--> online: every address, cluster, clocks, plan, health --.
//!   check ---+                                                           +--> findings by group --> marks for people, JSON for programs
//!            '--> --pre: the files, ports and peers of a node config ----'
//! ```
//!
//! Invariant: it changes nothing, neither here nor there; what it made to try a directory is gone afterwards.

mod offline;
mod online;

use serde::Serialize;

use super::{
    Exit, Failure, Format, Outcome, Terminal, data,
    desk::Desk,
    render::{
        table::Tone,
        text::{lines, plain, wrap},
    },
};
pub(super) use offline::run as run_offline;

/// A certificate that ends sooner is a warning: a month is what a change needs that somebody must approve.
const CERTIFICATE_DAYS_MIN: i64 = 30;
const DAY_MS: i64 = 86_400_000;

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Before the daemon runs: look at the files, ports and peers of the node config; no daemon is asked.
    #[arg(long)]
    pub(super) pre: bool,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    group: &'static str,
    state: Mark,
    text: String,
    /// What to do; empty where nothing is to be done.
    fix: String,
}

/// Findings in the order in which they were made; groups follow one another.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, group: &'static str, text: impl Into<String>) {
        self.0.push(Finding { group, state: Mark::Ok, text: text.into(), fix: String::new() });
    }

    fn warn(&mut self, group: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { group, state: Mark::Warning, text: text.into(), fix: fix.into() });
    }

    fn fail(&mut self, group: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { group, state: Mark::Failed, text: text.into(), fix: fix.into() });
    }

    fn worst(&self) -> Mark {
        self.0.iter().map(|finding| finding.state).max().unwrap_or(Mark::Ok)
    }

    /// Adds how long a certificate is still valid.
    fn life(
        &mut self,
        group: &'static str,
        what: &str,
        certificate: &super::certificate::Shown,
        now: portolan_core::model::time::Timestamp,
    ) {
        let days = (certificate.end.0 - now.0).div_euclid(DAY_MS);
        let name = &certificate.name;
        if certificate.end <= now {
            self.fail(
                group,
                format!("{what} {name} expired at {}", certificate.end),
                "get a new one; `portolan pki issue --replace` makes one",
            );
        } else if certificate.begin > now {
            let text = format!("{what} {name} is valid from {} only, and it is {now} here", certificate.begin);
            self.fail(group, text, "correct the clock that is wrong: NTP here, or where the certificate was made");
        } else if days < CERTIFICATE_DAYS_MIN {
            self.warn(
                group,
                format!("{what} {name} expires in {days} days, at {}", certificate.end),
                "renew it; files are read again at once",
            );
        } else {
            self.ok(group, format!("{what} {name} is valid until {}", certificate.end));
        }
    }
}

/// `√ ‼ ×` where the terminal shows them, else letters that survive a chat and a pager.
fn render(findings: &Findings, unicode: bool, colour: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    for finding in &findings.0 {
        if finding.group != group {
            group = finding.group;
            text.push_str(&format!("{}\n", group.to_uppercase()));
        }
        let (sign, plain_sign, tone) = match finding.state {
            Mark::Ok => ("\u{221a}", "ok  ", Tone::Good),
            Mark::Warning => ("\u{203c}", "WARN", Tone::Doubtful),
            Mark::Failed => ("\u{d7}", "FAIL", Tone::Bad),
        };
        let sign = tone.paint(if unicode { sign } else { plain_sign }, colour);
        for (i, line) in lines(&finding.text).lines().enumerate() {
            let line = wrap(line, super::render::COLUMNS - 7, "       ");
            let lead = if i == 0 { format!("  {sign} ") } else { "       ".to_owned() };
            text.push_str(&format!("{lead}{line}\n"));
        }
        if !finding.fix.is_empty() {
            text.push_str(&format!("       -> {}\n", wrap(&plain(&finding.fix), super::render::COLUMNS - 10, "          ")));
        }
    }
    let count = |mark| findings.0.iter().filter(|finding| finding.state == mark).count();
    let (failed, warnings) = (count(Mark::Failed), count(Mark::Warning));
    text.push_str(&format!("{} looked at: {failed} failed, {warnings} warnings\n", findings.0.len()));
    text
}

fn show(findings: &Findings, unicode: bool, format: Format, terminal: &mut Terminal<'_>) -> Result<Exit, Failure> {
    let failed = findings.worst() == Mark::Failed;
    if format.is_data() {
        data(terminal, format, &serde_json::json!({ "ok": !failed, "findings": findings.0 }))?;
    } else {
        terminal.out.write_all(render(findings, unicode, terminal.colour).as_bytes())?;
    }
    Ok(if failed { Exit::Degraded } else { Exit::Ok })
}

/// Asks daemons. Not one that answers: exits 6, with what was tried.
pub(super) async fn run(desk: &mut Desk<'_>) -> Outcome {
    let mut findings = Findings::default();
    let answered = online::look(desk, &mut findings).await;
    let exit = show(&findings, desk.unicode, desk.format, &mut desk.terminal)?;
    Ok(if answered { exit } else { Exit::Unreachable })
}

#[cfg(test)]
mod tests {
    use portolan_core::model::time::Timestamp;

    use super::*;
    use crate::cli::certificate::Shown;

    fn some() -> Findings {
        let mut findings = Findings::default();
        findings.ok("connectivity", "127.0.0.1:8443 answers");
        findings.warn("clocks", "aps1-a is 1.5s behind", "see to NTP there");
        findings.fail("cluster", "voters reached 1/3\n  use1-a  gone", "see `portolan peers list`");
        findings
    }

    #[test]
    fn findings_are_shown_by_group_with_what_to_do() {
        assert_eq!(
            render(&some(), false, false),
            "CONNECTIVITY\n  ok   127.0.0.1:8443 answers\nCLOCKS\n  WARN aps1-a is 1.5s behind\n       -> see to NTP there\nCLUSTER\n  FAIL \
             voters reached 1/3\n       use1-a gone\n       -> see `portolan peers list`\n3 looked at: 1 failed, 1 warnings\n"
        );
        let unicode = render(&some(), true, false);
        assert!(
            unicode.contains("  \u{221a} 127") && unicode.contains("  \u{203c} aps1") && unicode.contains("  \u{d7} voters"),
            "{unicode}"
        );
        assert_eq!(some().worst(), Mark::Failed);
    }

    #[test]
    fn a_certificate_warns_a_month_before_it_fails() {
        let now = Timestamp(1_795_316_600_000);
        let state = |begin_days: i64, end_days: i64| {
            let at = |days: i64| Timestamp(now.0 + days * DAY_MS + 1);
            let shown = Shown { name: "x".to_owned(), hosts: vec![], uris: vec![], begin: at(begin_days), end: at(end_days) };
            let mut findings = Findings::default();
            findings.life("tls", "certificate", &shown, now);
            findings.0[0].state
        };
        assert_eq!([state(-1, 31), state(-1, 30), state(-1, 29), state(-1, 0)], [Mark::Ok, Mark::Ok, Mark::Warning, Mark::Warning]);
        assert_eq!([state(-9, -1), state(1, 30)], [Mark::Failed, Mark::Failed]);
    }
}
