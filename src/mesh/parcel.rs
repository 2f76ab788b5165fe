//! What is sent to many: encoded once, however many take it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use portolan_core::{
    failover::holding,
    health::{
        book::Beat,
        vantage::{CheckKey, Report},
    },
    model::ids::Label,
};
use prost::Message as _;

use super::{
    holdings,
    proto::{self, News, ObserveFrame, observe_frame::Frame},
    wire,
};

/// Statements in one frame, some hundred KiB: a frame must not hold up the next sign of life.
pub(super) const STATEMENTS_PER_FRAME_MAX: usize = 2000;

/// Frames are small, some kilobytes, as long as there are not more than this of them: the buffers that they are encoded in stay as large as the
/// largest of them, for each link, and a queue has room for four times as many.
const FRAMES_WANTED: usize = 128;
const ITEMS_PER_FRAME_MIN: usize = 64;

/// Reports in one frame: as many as there may be observers.
pub(super) const REPORTS_PER_FRAME_MAX: usize = 1024;

/// Pushes of heartbeats in one frame, some hundred KiB at most.
pub(super) const BEATS_PER_FRAME_MAX: usize = 512;

/// Something for other nodes.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// What observers say.
    Reports(Vec<Report>),
    /// Everything of this observer is to be said again.
    Need(Label),
    /// A check is to be probed at once.
    Confirm(CheckKey),
    /// An order that holds without a majority, as the daemon writes it.
    Local(Bytes),
    /// Heartbeats were pushed: the names of checks in the plan, and of each the oldest push first.
    Beats(Vec<(String, Beat)>),
    /// What agents state, and how long ago each did.
    Holdings(Vec<(holding::Statement, Duration)>),
}

impl Parcel {
    /// As frames, each of bounded size.
    pub(super) fn frames(&self) -> Vec<ObserveFrame> {
        match self {
            Self::Reports(reports) => frames(reports),
            Self::Need(observer) => vec![frame(Frame::Need(observer.to_string()))],
            Self::Confirm(check) => vec![frame(Frame::Confirm(Bytes::copy_from_slice(&check.number().to_be_bytes())))],
            Self::Local(octets) => vec![frame(Frame::Local(octets.clone()))],
            Self::Holdings(stated) => holdings::frames(stated),
            Self::Beats(beats) => beats.chunks(BEATS_PER_FRAME_MAX).map(|beats| frame(Frame::Beats(told(beats)))).collect(),
        }
    }
}

fn told(beats: &[(String, Beat)]) -> proto::Beats {
    let beat = |(name, beat): &(String, Beat)| proto::Beat { name: name.clone(), ok: beat.ok, at_ms: beat.at.0 };
    proto::Beats { beats: beats.iter().map(beat).collect() }
}

pub(super) const fn frame(frame: Frame) -> ObserveFrame {
    ObserveFrame { frame: Some(frame) }
}

/// Reports in the order given, large ones in parts.
fn frames(reports: &[Report]) -> Vec<ObserveFrame> {
    let items: usize = reports.iter().map(|report| 1 + report.statements.len()).sum();
    let most = (items / FRAMES_WANTED).clamp(ITEMS_PER_FRAME_MIN, STATEMENTS_PER_FRAME_MAX);
    let (mut frames, mut news, mut n_statements) = (Vec::new(), News::default(), 0);
    for part in reports.iter().flat_map(|report| parts(report.clone(), most)) {
        if news.reports.len() >= most.min(REPORTS_PER_FRAME_MAX) || n_statements + part.statements.len() > most {
            frames.push(encoded(&std::mem::take(&mut news)));
            n_statements = 0;
        }
        n_statements += part.statements.len();
        news.reports.push(wire::report(&part));
    }
    if !news.reports.is_empty() {
        frames.push(encoded(&news));
    }
    frames
}

fn encoded(news: &News) -> ObserveFrame {
    frame(Frame::News(news.encode_to_vec().into()))
}

/// A report in parts that fit into frames. Each part is a report by itself, which says everything up to the number at which it ends.
fn parts(mut report: Report, most: usize) -> Vec<Report> {
    if report.statements.len() <= most {
        return vec![report];
    }
    report.statements.sort_by_key(|statement| statement.sequence);
    let statements = std::mem::take(&mut report.statements);
    let (mut parts, mut after) = (Vec::new(), report.after);
    let mut chunks = statements.chunks(most).peekable();
    while let Some(chunk) = chunks.next() {
        let last = chunk.last().map_or(report.sequence, |statement| statement.sequence);
        let sequence = if chunks.peek().is_some() { last } else { report.sequence };
        parts.push(Report { after, sequence, statements: chunk.to_vec(), ..report.clone() });
        after = sequence;
    }
    parts
}

/// Signs of life that wait a moment for others to travel with them: 600 nodes give 1,200 a second, for each observer.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<(Instant, Report)>);

impl Waiting {
    /// Puts a report behind the others.
    pub(super) fn push(&mut self, report: Report, now: Instant) {
        self.0.push((now, report));
    }

    /// All that wait, older by the time that they did.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Report> {
        let aged = |(since, report): (Instant, Report)| report.aged(now.saturating_duration_since(since));
        std::mem::take(&mut self.0).into_iter().map(aged).collect()
    }
}

/// How long signs of life wait at most, for each sort of peer. Voters relay them further and are few. Observers are many, and what they cost is
/// the number of frames; with both waits, the way and the time between two signs, more than a second is left until an observer is not fresh.
pub(super) const WAIT_MAX_FOR_VOTERS: Duration = Duration::from_millis(100);
pub(super) const WAIT_MAX_FOR_OBSERVERS: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use portolan_core::{
        health::vantage::{Judgement, Sight, Statement},
        model::{time::Timestamp, verdict::Health},
    };

    use super::*;

    fn report(n: u64) -> Report {
        let judgement = Judgement { health: Health::Up, since: Some(Timestamp(5)), ..Judgement::default() };
        let statements =
            (0..n).rev().map(|i| Statement { check: CheckKey::from_number(i.into()), sequence: 2 * i + 1, judgement: judgement.clone() });
        let (observer, region) = ("eu-1".into(), "eu".into());
        Report {
            observer,
            region,
            incarnation: 1,
            after: 0,
            sequence: 2 * n + 7,
            sight: Sight::Sighted,
            age: Duration::ZERO,
            statements: statements.collect(),
        }
    }

    fn read(frames: &[ObserveFrame]) -> Vec<Report> {
        let reports = |frame: &ObserveFrame| match &frame.frame {
            Some(Frame::News(octets)) => wire::read_news(octets.clone()).unwrap(),
            other => panic!("{other:?} is no news"),
        };
        frames.iter().flat_map(reports).collect()
    }

    #[test]
    fn a_large_report_travels_in_parts_that_join() {
        for (n, n_frames, octets_max) in [(3, 1, 1024), (500, 8, 8 * 1024), (300_000, 151, 512 * 1024)] {
            a_report_travels(n, n_frames, octets_max);
        }
    }

    fn a_report_travels(n: u64, n_frames: usize, octets_max: usize) {
        let whole = report(n);
        let frames = Parcel::Reports(vec![report(0), whole.clone(), report(3)]).frames();
        assert_eq!(frames.len(), n_frames);
        assert!(frames.iter().all(|frame| frame.encoded_len() < octets_max));
        let parts = read(&frames);
        assert_eq!((parts[0].clone(), parts[parts.len() - 1].clone()), (report(0), report(3)));
        let parts = &parts[1..parts.len() - 1];
        assert_eq!((parts[0].after, parts[parts.len() - 1].sequence), (whole.after, whole.sequence));
        for (part, next) in parts.iter().zip(&parts[1..]) {
            assert_eq!(part.sequence, next.after);
        }
        for part in parts {
            assert!(part.statements.iter().all(|it| part.after < it.sequence && it.sequence <= part.sequence));
        }
        assert_eq!(parts.iter().map(|part| part.statements.len()).sum::<usize>(), whole.statements.len());
    }

    #[test]
    fn what_waited_is_older_for_it() {
        let start = tokio::time::Instant::now().into_std();
        let mut waiting = Waiting::default();
        waiting.push(report(0), start);
        waiting.push(report(0), start + Duration::from_millis(60));
        let ages: Vec<_> = waiting.take(start + Duration::from_millis(100)).iter().map(|report| report.age.as_millis()).collect();
        assert_eq!(ages, [100, 40]);
        assert!(waiting.take(start).is_empty());
    }
}
