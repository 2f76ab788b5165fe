//! How a region was lost and came back.

use std::{fmt, time::Duration};

use portolan_core::model::time::{Human, Timestamp};

use super::{DataMoved, line};
use crate::demo::{
    Stop,
    clients::Totals,
    plan::{
        CLIENTS_PER_REGION, DOWN_INTERVAL, FALL, FAST_INTERVAL, INTERVAL, RISE, SLOW_START, SLOW_START_PERCENT, TIMEOUT, TTL_MIN,
        detection_max,
    },
    screen::seconds,
    script::{SLACK, by, leader},
};

/// How a region was lost. Times count from the moment when it was killed.
pub(in crate::demo::script) struct Loss {
    /// Until a node of the nearest region knew, by its own account.
    pub(in crate::demo::script) detected: Duration,
    /// Until its last client was answered with another region.
    pub(in crate::demo::script) moved: Duration,
    /// Its clients, all of which moved.
    pub(in crate::demo::script) clients: usize,
    /// Where they went.
    pub(in crate::demo::script) to: String,
}

/// What its answers left behind. Times count from the moment when it was killed.
pub(in crate::demo::script) struct Tail {
    /// Until the last old answer in a resolver's cache had expired.
    pub(in crate::demo::script) last: Duration,
    /// Until when nodes said that old answers may be held,
    pub(in crate::demo::script) promised: Timestamp,
    /// and how long after the loss that was.
    pub(in crate::demo::script) promised_after: Duration,
}

/// How it came back. Times count from the moment when its endpoints listened again.
pub(in crate::demo::script) struct Return {
    /// Until a node of the nearest region knew, by its own account.
    pub(in crate::demo::script) seen: Duration,
    /// Clients that got it when the first of them did: of all `clients`.
    pub(in crate::demo::script) first: usize,
    /// Until all of them got it.
    pub(in crate::demo::script) back: Duration,
    /// Its clients.
    pub(in crate::demo::script) clients: usize,
}

/// Everything that was measured.
pub(in crate::demo::script) struct LossReport {
    pub(in crate::demo::script) region: &'static str,
    pub(in crate::demo::script) loss: Loss,
    pub(in crate::demo::script) tail: Tail,
    /// `None`: there are no databases.
    pub(in crate::demo::script) data: Option<DataMoved>,
    /// Who leads in the place of its voter.
    pub(in crate::demo::script) leader: leader::Change,
    /// From an order at an observer until all nodes that were left knew it.
    pub(in crate::demo::script) order: Duration,
    /// From the power's return until its nodes knew what the others did.
    pub(in crate::demo::script) rejoined: Duration,
    pub(in crate::demo::script) comeback: Return,
    /// Clients of other regions that ever got an answer which leads away from home.
    pub(in crate::demo::script) strayed: usize,
    /// Clients of other regions.
    pub(in crate::demo::script) others: usize,
    pub(in crate::demo::script) totals: Totals,
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, loss, tail, data, leader, order, rejoined, comeback, strayed, others, totals } = self;
        line(
            f,
            "loss detected after",
            &seconds(loss.detected),
            &format!(
                "every {}, then {} more {} apart, {} each: at most {}",
                Human(INTERVAL),
                FALL - 1,
                Human(FAST_INTERVAL),
                Human(TIMEOUT),
                seconds(detection_max())
            ),
        )?;
        line(f, "answers moved after", &seconds(loss.moved), &format!("with the verdict; {}", loss.to))?;
        let leader::Change { before, after, known } = leader;
        line(f, "without a leader for", &seconds(*known), &format!("{before} led, {after} does; answers need none"))?;
        line(
            f,
            "last old answer expired after",
            &seconds(tail.last),
            &format!("ttl {}; promised by {}, {}", Human(TTL_MIN), by(tail.promised), seconds(tail.promised_after)),
        )?;
        if let Some(data) = data {
            data.fmt(f)?;
        }
        line(f, "clients of other regions moved", &strayed.to_string(), &format!("of {others}"))?;
        line(f, "an order known everywhere after", &seconds(*order), "given to an observer meanwhile")?;
        line(f, "nodes rejoined after", &seconds(*rejoined), "by themselves, with what was agreed meanwhile")?;
        line(
            f,
            "return detected after",
            &seconds(comeback.seen),
            &format!("every {}, {RISE} passes {} apart", Human(DOWN_INTERVAL), Human(FAST_INTERVAL)),
        )?;
        line(
            f,
            &format!("clients back in {region}"),
            &format!("{}%", comeback.first * 100 / comeback.clients.max(1)),
            &format!("at first; slow start begins with {SLOW_START_PERCENT}%"),
        )?;
        line(f, "all clients back after", &seconds(comeback.back), &format!("slow start over {}", Human(SLOW_START)))?;
        super::answers(f, totals)
    }
}

impl LossReport {
    /// Compares with what was expected.
    pub(in crate::demo::script) fn check(&self) -> Result<(), Stop> {
        let Self { region, loss, strayed, others, totals, .. } = self;
        let bound = detection_max() + SLACK;
        let unseen = if loss.detected > bound {
            format!("{region} is found down within {}: it took {}", seconds(bound), seconds(loss.detected))
        } else if loss.clients != usize::from(CLIENTS_PER_REGION) {
            format!("{CLIENTS_PER_REGION} clients of {region} ask: {} did", loss.clients)
        } else if *strayed != 0 {
            format!("clients of other regions stay where they are: {strayed} of {others} moved")
        } else if totals.unanswered != 0 {
            format!("every question is answered: {} were not", totals.unanswered)
        } else {
            return self.data.as_ref().map_or(Ok(()), DataMoved::check);
        };
        Err(Stop::Unseen(unseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LossReport {
        LossReport {
            region: "us-east-1",
            loss: Loss {
                detected: Duration::from_millis(1840),
                moved: Duration::from_millis(1890),
                clients: 100,
                to: "100 get eu-west-1".to_owned(),
            },
            leader: leader::Change { before: "use1-a".to_owned(), after: "euw1-a".to_owned(), known: Duration::from_millis(4210) },
            tail: Tail {
                last: Duration::from_millis(6700),
                promised: Timestamp(1_795_316_600_000),
                promised_after: Duration::from_millis(7100),
            },
            data: None,
            order: Duration::from_millis(310),
            rejoined: Duration::from_millis(2900),
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
        assert!(text.contains("  without a leader for               4.2s   use1-a led, euw1-a does; answers need none\n"), "{text}");
        assert!(text.contains("  clients of other regions moved        0   of 200\n"), "{text}");
    }

    #[test]
    fn each_thing_that_was_expected_is_missed() {
        assert!(report().check().is_ok());
        let missed = |change: fn(&mut LossReport)| {
            let mut report = report();
            change(&mut report);
            match report.check() {
                Err(Stop::Unseen(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            [
                missed(|report| report.loss.detected = Duration::from_millis(10_900)),
                missed(|report| report.loss.clients = 99),
                missed(|report| report.strayed = 3),
                missed(|report| report.totals.unanswered = 1),
            ],
            [
                "us-east-1 is found down within 10.7s: it took 10.9s",
                "100 clients of us-east-1 ask: 99 did",
                "clients of other regions stay where they are: 3 of 200 moved",
                "every question is answered: 1 were not",
            ]
        );
    }
}
