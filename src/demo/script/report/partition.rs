//! How a region was cut off and became one with the others again.

use std::{fmt, time::Duration};

use portolan_core::model::time::Tick;

use super::{DataApart, line};
use crate::demo::{
    Stop,
    clients::Totals,
    screen::seconds,
    script::{leader, sides::Counts},
};

/// How both sides came to know. Times count from the cut.
pub(in crate::demo::script) struct Apart {
    /// Until all nodes of the region said that they are blind,
    pub(in crate::demo::script) blind: Duration,
    /// and that they have no quorum.
    pub(in crate::demo::script) no_quorum: Duration,
    /// Until all others named the region unreachable.
    pub(in crate::demo::script) unreachable: Duration,
    /// Who leads the others.
    pub(in crate::demo::script) leader: leader::Change,
}

/// What was ordered meanwhile. Times count from the order.
pub(in crate::demo::script) struct Ordered {
    /// Until all nodes of the others knew.
    pub(in crate::demo::script) agreed: Duration,
    /// Until all clients of the region felt the local one.
    pub(in crate::demo::script) obeyed: Duration,
}

/// How they became one. Times count from the mending.
pub(in crate::demo::script) struct Mended {
    /// When it was mended.
    pub(in crate::demo::script) at: Tick,
    /// Until all nodes had one leader, one audit chain and the same orders.
    pub(in crate::demo::script) one: Duration,
    /// Until all of them heard all regions and found all up.
    pub(in crate::demo::script) sound: Duration,
}

/// Everything that was measured.
pub(in crate::demo::script) struct PartitionReport {
    pub(in crate::demo::script) region: &'static str,
    pub(in crate::demo::script) apart: Apart,
    /// What became of the data; `None`: there was none.
    pub(in crate::demo::script) data: Option<DataApart>,
    pub(in crate::demo::script) ordered: Ordered,
    pub(in crate::demo::script) mended: Mended,
    pub(in crate::demo::script) counts: Counts,
    /// Clients that ever got an answer which leads away from home.
    pub(in crate::demo::script) strayed: usize,
    /// All clients.
    pub(in crate::demo::script) clients: usize,
    pub(in crate::demo::script) totals: Totals,
}

impl fmt::Display for PartitionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, apart, data, ordered, mended, counts, strayed, clients, totals } = self;
        line(f, "cut-off side is blind after", &seconds(apart.blind), "it hears nobody and reaches no reference: it abstains")?;
        line(f, "cut-off side: no_quorum after", &seconds(apart.no_quorum), "it cannot agree on anything, and says so")?;
        line(f, "others call it unreachable after", &seconds(apart.unreachable), &format!("{region} is DOWN for them, with the cause"))?;
        let leader::Change { before, after, known } = &apart.leader;
        line(f, "others have a leader after", &seconds(*known), &format!("{before} led, {after} does"))?;
        let looks = format!("in {} looks at nodes", counts.looks);
        line(f, "withdrawals of healthy regions", &counts.of_healthy.len().to_string(), &format!("by the others, {looks}"))?;
        line(f, "withdrawals by the cut-off side", &counts.by_cut_off.len().to_string(), "of anything, for its own clients")?;
        line(f, "clients led away from home", &strayed.to_string(), &format!("of {clients}, mending included"))?;
        if let Some(data) = data {
            data.fmt(f)?;
        }
        line(f, "an order of the others held after", &seconds(ordered.agreed), "the same one was refused on the cut-off side")?;
        line(f, "a local order was felt after", &seconds(ordered.obeyed), "by all clients of the cut-off side")?;
        line(f, "all nodes of one mind after", &seconds(mended.one), "from the mending: leader, orders, audit chain")?;
        line(f, "all regions UP everywhere after", &seconds(mended.sound), "from the mending")?;
        super::answers(f, totals)
    }
}

impl PartitionReport {
    /// Compares with what was expected.
    pub(in crate::demo::script) fn check(&self) -> Result<(), Stop> {
        let Self { data, counts, strayed, clients, totals, .. } = self;
        let unseen = if let Some((node, endpoint)) = counts.of_healthy.first() {
            format!("nobody withdraws what is healthy: {node} withdrew {endpoint}")
        } else if let Some((node, endpoint)) = counts.by_cut_off.first() {
            format!("the cut-off side withdraws nothing: {node} withdrew {endpoint}")
        } else if *strayed != 0 {
            format!("every client stays with its own region: {strayed} of {clients} did not")
        } else if totals.unanswered != 0 {
            format!("every question is answered: {} were not", totals.unanswered)
        } else {
            return data.as_ref().map_or(Ok(()), DataApart::check);
        };
        Err(Stop::Unseen(unseen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> PartitionReport {
        PartitionReport {
            region: "us-east-1",
            apart: Apart {
                blind: Duration::from_millis(5200),
                no_quorum: Duration::from_millis(16_300),
                unreachable: Duration::from_millis(4100),
                leader: leader::Change { before: "use1-a".to_owned(), after: "euw1-a".to_owned(), known: Duration::from_millis(4210) },
            },
            ordered: Ordered { agreed: Duration::from_millis(310), obeyed: Duration::from_millis(120) },
            data: None,
            mended: Mended { at: Tick(0), one: Duration::from_millis(2100), sound: Duration::from_millis(3800) },
            counts: Counts { looks: 700, ..Counts::default() },
            strayed: 0,
            clients: 300,
            totals: Totals { asked: 10, answered: 9, unanswered: 0 },
        }
    }

    #[test]
    fn it_is_a_table_that_fits_the_screen() {
        let text = report().to_string();
        assert!(text.lines().all(|line| line.len() <= 100 && line.is_ascii()), "{text}");
        assert!(text.contains("  withdrawals of healthy regions        0   by the others, in 700 looks at nodes\n"), "{text}");
        assert!(text.contains("  others have a leader after         4.2s   use1-a led, euw1-a does\n"), "{text}");
    }

    #[test]
    fn each_thing_that_was_expected_is_missed() {
        assert!(report().check().is_ok());
        let missed = |change: fn(&mut PartitionReport)| {
            let mut report = report();
            change(&mut report);
            match report.check() {
                Err(Stop::Unseen(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        let pair = |node: &str| (node.to_owned(), "api/x/127.0.0.1:1".to_owned());
        assert_eq!(
            [missed(|report| report.strayed = 3), missed(|report| report.totals.unanswered = 1),],
            ["every client stays with its own region: 3 of 300 did not", "every question is answered: 1 were not"]
        );
        let mut withdrawn = report();
        withdrawn.counts.by_cut_off.insert(pair("use1-a"));
        assert!(matches!(withdrawn.check(), Err(Stop::Unseen(what)) if what.ends_with("use1-a withdrew api/x/127.0.0.1:1")));
        withdrawn.counts.of_healthy.insert(pair("euw1-a"));
        assert!(matches!(withdrawn.check(), Err(Stop::Unseen(what)) if what.ends_with("euw1-a withdrew api/x/127.0.0.1:1")));
    }
}
