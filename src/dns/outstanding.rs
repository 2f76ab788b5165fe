//! How long resolvers may still hold an answer that was given.
//!
//! Why: a region that leaves the answers keeps getting clients until the last cached answer has expired. This knows when that is: "by
//! 14:03:20 no well-behaved resolver can still hold it". Clients that ignore times to live are beyond any server's knowledge.
//!
//! Invariant: a moment that was noted never moves back, and the one that is read is never earlier than the true one; it may be later by
//! half a second. The time that an answer travels is not in it.
//!
//! Belongs to one topology, because services and regions are positions in it: whoever answers from a table notes into the value that was
//! made with that table, and [`Outstanding::carry`] brings it over to the next one.
//!
//! Source: gslb.md 3, number 6.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portolan_core::{
    answer::Answer,
    model::{
        ids::{RegionIdx, ServiceIdx},
        time::Tick,
    },
};

/// Moments are rounded up to a multiple of this: of a thousand equal answers per second all but a few then find their moment noted already,
/// and only read the shared cache line.
const GRAIN_MICROS: u64 = 500_000;

/// For each service and region, until when an answer may be held. Shared; every method is lock-free.
#[derive(Debug)]
pub struct Outstanding {
    /// Row by row for each service: one column per region, and a last one for answers of no single region. Zero: never answered.
    until: Box<[AtomicU64]>,
    columns: usize,
}

impl Outstanding {
    /// With nothing outstanding, for a topology of so many services and regions. Costs eight octets for each pair.
    #[must_use]
    pub fn new(services: usize, regions: usize) -> Self {
        let columns = regions + 1;
        Self { until: (0..services * columns).map(|_| AtomicU64::new(0)).collect(), columns }
    }

    /// Notes that `answer` is given at `now`, by the node's monotonic clock. Answers that no service steered, and those of another topology, are passed over.
    pub fn note(&self, answer: &Answer, now: Tick) {
        let Some((service, region)) = answer.steered else {
            return;
        };
        if let Some(ttl) = answer.answers.iter().map(|record| record.ttl).max() {
            self.raise(service, region, now + ttl.duration());
        }
    }

    /// Notes that an answer of this service and region may be held until `until`.
    pub fn raise(&self, service: ServiceIdx, region: Option<RegionIdx>, until: Tick) {
        if let Some(cell) = self.cell(service, region) {
            let until = until.0.checked_next_multiple_of(GRAIN_MICROS).unwrap_or(u64::MAX);
            if cell.load(Relaxed) < until {
                cell.fetch_max(until, Relaxed);
            }
        }
    }

    /// Until when a resolver may hold an answer of this service with this region's addresses, alone or among others. `None`: no such answer
    /// was given. A moment that has passed means that nobody holds one any more.
    #[must_use]
    pub fn until(&self, service: ServiceIdx, region: RegionIdx) -> Option<Tick> {
        let [one, mixed] = [Some(region), None].map(|region| self.cell(service, region).map_or(0, |cell| cell.load(Relaxed)));
        Some(one.max(mixed)).filter(|until| *until != 0).map(Tick)
    }

    /// The latest moment over all services for a region.
    #[must_use]
    pub fn until_region(&self, region: RegionIdx) -> Option<Tick> {
        (0..self.until.len() / self.columns).filter_map(|service| self.until(ServiceIdx::at(service), region)).max()
    }

    /// Takes over what is outstanding in `old`, for services and regions that `to` finds in this topology.
    pub fn carry(&self, old: &Self, service: impl Fn(ServiceIdx) -> Option<ServiceIdx>, region: impl Fn(RegionIdx) -> Option<RegionIdx>) {
        let regions: Vec<Option<RegionIdx>> = (0..old.columns - 1).map(|column| region(RegionIdx::at(column))).collect();
        for (row, cells) in old.until.chunks(old.columns).enumerate() {
            let Some(service) = service(ServiceIdx::at(row)) else {
                continue;
            };
            for (column, cell) in cells.iter().enumerate() {
                let until = Tick(cell.load(Relaxed));
                match regions.get(column) {
                    Some(Some(region)) if until.0 != 0 => self.raise(service, Some(*region), until),
                    None if until.0 != 0 => self.raise(service, None, until),
                    _ => {}
                }
            }
        }
    }

    fn cell(&self, service: ServiceIdx, region: Option<RegionIdx>) -> Option<&AtomicU64> {
        let column = match region {
            Some(region) if region.get() + 1 < self.columns => region.get(),
            Some(_) => return None,
            None => self.columns - 1,
        };
        self.until.get(service.get().checked_mul(self.columns)? + column)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portolan_core::{
        answer::Rcode,
        model::{
            record::{Record, RecordData},
            units::Ttl,
        },
    };

    use super::*;

    fn answer(ttl: u32, region: Option<u8>) -> Answer {
        let record =
            |ttl| Record { owner: "a.example".parse().unwrap(), ttl: Ttl::from_secs(ttl), data: RecordData::A([192, 0, 2, 1].into()) };
        Answer {
            rcode: Rcode::NoError,
            authoritative: true,
            answers: vec![record(1), record(ttl)],
            authority: Vec::new(),
            additional: Vec::new(),
            scope: 0,
            extended_error: None,
            steered: Some((ServiceIdx(1), region.map(RegionIdx))),
        }
    }

    fn seconds(n: u64) -> Tick {
        Tick::default() + Duration::from_secs(n)
    }

    #[test]
    fn the_latest_moment_stays() {
        let outstanding = Outstanding::new(2, 3);
        assert_eq!(outstanding.until(ServiceIdx(1), RegionIdx(0)), None);
        outstanding.note(&answer(60, Some(0)), seconds(100));
        outstanding.note(&answer(5, Some(0)), seconds(110));
        assert_eq!(outstanding.until(ServiceIdx(1), RegionIdx(0)), Some(seconds(160)));
        assert_eq!(outstanding.until(ServiceIdx(1), RegionIdx(1)), None);
        assert_eq!(outstanding.until(ServiceIdx(0), RegionIdx(0)), None);
        // An answer of several regions counts for each.
        outstanding.note(&answer(100, None), seconds(100));
        assert_eq!(outstanding.until(ServiceIdx(1), RegionIdx(1)), Some(seconds(200)));
        assert_eq!(outstanding.until_region(RegionIdx(2)), Some(seconds(200)));
    }

    #[test]
    fn moments_are_rounded_up() {
        let outstanding = Outstanding::new(2, 1);
        outstanding.raise(ServiceIdx(0), Some(RegionIdx(0)), Tick(1));
        assert_eq!(outstanding.until(ServiceIdx(0), RegionIdx(0)), Some(Tick(GRAIN_MICROS)));
        outstanding.raise(ServiceIdx(0), Some(RegionIdx(0)), Tick(u64::MAX));
        assert_eq!(outstanding.until(ServiceIdx(0), RegionIdx(0)), Some(Tick(u64::MAX)));
    }

    #[test]
    fn another_topology_takes_over_by_its_own_positions() {
        let (old, new) = (Outstanding::new(2, 2), Outstanding::new(1, 3));
        old.note(&answer(60, Some(0)), seconds(0));
        old.note(&answer(30, Some(1)), seconds(0));
        old.raise(ServiceIdx(0), None, seconds(500));
        new.carry(&old, |service| (service.0 == 1).then_some(ServiceIdx(0)), |region| (region.0 == 0).then_some(RegionIdx(2)));
        let until = |region| new.until(ServiceIdx(0), RegionIdx(region));
        assert_eq!([until(0), until(1), until(2)], [None, None, Some(seconds(60))]);
        // Positions that this topology does not have are passed over.
        new.note(&answer(60, Some(9)), seconds(0));
    }
}
