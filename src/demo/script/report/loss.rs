//! What was measured, beside the settings that it follows from, and what of it was expected.

use std::{fmt, time::Duration};

use portolan_core::model::time::{Human, Timestamp};

use super::{
    Stop,
    clients::Totals,
    plan::{
        CLIENTS_PER_REGION, DOWN_INTERVAL, FALL, FAST_INTERVAL, INTERVAL, RISE, SLOW_START, SLOW_START_PERCENT, TTL_MIN, detection_max,
        detection_refused,
    },
    screen::seconds,
    script::by,
};

/// How a region was lost. Times count from the moment when it was killed.
pub(super) struct Loss {
    /// Until the daemon knew, by its own account.
    pub(super) detected: Duration,
    /// Until its last client was answered with another region.
    pub(super) moved: Duration,
    /// Its clients, all of which moved.
    pub(super) clients: usize,
    /// Where they went.
    pub(super) to: String,
}

/// What its answers left behind. Times count from the moment when it was killed.
pub(super) struct Tail {
    /// Until the last old answer in a resolver's cache had expired.
    pub(super) last: Duration,
    /// Until when the daemon said that old answers may be held,
    pub(super) promised: Timestamp,
    /// and how long after the loss that was.
    pub(super) promised_after: Duration,
}

/// How it came back. Times count from the moment when it listened again.
pub(super) struct Return {
    /// Until the daemon knew, by its own account.
    pub(super) seen: Duration,
    /// Clients that got it when the first of them did: of all `clients`.
    pub(super) first: usize,
    /// Until all of them got it.
    pub(super) back: Duration,
    /// Its clients.
    pub(super) clients: usize,
}

/// Everything that was measured.
pub(super) struct Report {
    pub(super) region: &'static str,
    pub(super) loss: Loss,
    pub(super) tail: Tail,
    pub(super) comeback: Return,
    /// Clients of other regions that ever got an answer which leads away from home.
    pub(super) strayed: usize,
    /// Clients of other regions.
    pub(super) others: usize,
    pub(super) totals: Totals,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, loss, tail, comeback, strayed, others, totals } = self;
        let mut line = |what: &str, figure: &str, follows: String| writeln!(f, "  {what:<32}{figure:>7}   {follows}");
        line(
            "loss detected after",
            &seconds(loss.detected),
            format!(
                "every {}, then {} more failures {} apart: at most {}",
                Human(INTERVAL),
                FALL - 1,
                Human(FAST_INTERVAL),
                seconds(detection_refused())
            ),
        )?;
        line("answers moved after", &seconds(loss.moved), format!("with the verdict; {}", loss.to))?;
        line(
            "last old answer expired after",
            &seconds(tail.last),
            format!("ttl {}; promised by {}, {}", Human(TTL_MIN), by(tail.promised), seconds(tail.promised_after)),
        )?;
        line("clients of other regions moved", &strayed.to_string(), format!("of {others}"))?;
        line(
            "return detected after",
            &seconds(comeback.seen),
            format!("every {}, {RISE} passes {} apart", Human(DOWN_INTERVAL), Human(FAST_INTERVAL)),
        )?;
        line(
            &format!("clients back in {region}"),
            &format!("{}%", comeback.first * 100 / comeback.clients.max(1)),
            format!("at first; slow start begins with {SLOW_START_PERCENT}%"),
        )?;
        line("all clients back after", &seconds(comeback.back), format!("slow start over {}", Human(SLOW_START)))?;
        let unanswered = format!("to {} questions; {} clients had to go without", totals.asked, totals.unanswered);
        line("DNS answers received", &totals.answered.to_string(), unanswered)
    }
}

impl Report {
    /// Compares with what was expected.
    pub(super) fn check(&self) -> Result<(), Stop> {
        let Self { region, loss, strayed, others, totals, .. } = self;
        let bound = detection_max();
        let unseen = if loss.detected > bound {
            format!("{region} is found down within {}: it took {}", seconds(bound), seconds(loss.detected))
        } else if loss.clients != usize::from(CLIENTS_PER_REGION) {
            format!("{CLIENTS_PER_REGION} clients of {region} ask: {} did", loss.clients)
        } else if *strayed != 0 {
            format!("clients of other regions stay where they are: {strayed} of {others} moved")
        } else if totals.unanswered != 0 {
            format!("every question is answered: {} were not", totals.unanswered)
        } else {
            return Ok(());
        };
        Err(Stop::Unseen(unseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            region: "us-east-1",
            loss: Loss {
                detected: Duration::from_millis(1840),
                moved: Duration::from_millis(1890),
                clients: 100,
                to: "100 get eu-west-1".to_owned(),
            },
            tail: Tail {
                last: Duration::from_millis(6700),
                promised: Timestamp(1_795_316_600_000),
                promised_after: Duration::from_millis(7100),
            },
            comeback: Return { seen: Duration::from_millis(300), first: 16, back: Duration::from_millis(10_400), clients: 100 },
            strayed: 0,
            others: 200,
            totals: Totals { asked: 10, answered: 9, unanswered: 0 },
        }
    }

    #[test]
    fn it_is_a_table_that_fits_the_screen() {
        let text = report().to_string();
        assert!(text.lines().all(|line| line.len() <= 100 && line.is_ascii()), "{text}");
        assert!(text.contains("  last old answer expired after      6.7s   ttl 5s; promised by 03:03:20Z, 7.1s\n"), "{text}");
        assert!(text.contains("  clients of other regions moved        0   of 200\n"), "{text}");
    }

    #[test]
    fn each_thing_that_was_expected_is_missed() {
        assert!(report().check().is_ok());
        let missed = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            match report.check() {
                Err(Stop::Unseen(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            [
                missed(|report| report.loss.detected = Duration::from_millis(5900)),
                missed(|report| report.loss.clients = 99),
                missed(|report| report.strayed = 3),
                missed(|report| report.totals.unanswered = 1),
            ],
            [
                "us-east-1 is found down within 5.7s: it took 5.9s",
                "100 clients of us-east-1 ask: 99 did",
                "clients of other regions stay where they are: 3 of 200 moved",
                "every question is answered: 1 were not",
            ]
        );
    }
}
