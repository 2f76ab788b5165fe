//! Reports as they travel.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use portolan_core::{
    health::vantage::{CheckKey, Judgement, Report, Sight, Statement},
    model::{
        check::{Failure, FailureCategory},
        ids::Label,
        time::Timestamp,
        verdict::Health,
    },
};
use prost::Message as _;
use thiserror::Error;

use super::{
    parcel::{REPORTS_PER_FRAME_MAX, STATEMENTS_PER_FRAME_MAX},
    proto,
};

/// Why a frame says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("a frame cannot be decoded: {0}")]
    Form(String),
    #[error("a frame holds more than {REPORTS_PER_FRAME_MAX} reports or {STATEMENTS_PER_FRAME_MAX} statements")]
    TooMuch,
    #[error("a statement says neither up nor down nor unknown, or a report not what its observer sees; the sender is of another version")]
    Word,
    #[error("a check's key has {0} octets, not 16")]
    Key(usize),
}

pub(super) fn report(report: &Report) -> proto::Report {
    proto::Report {
        observer: report.observer.to_string(),
        region: report.region.to_string(),
        incarnation: report.incarnation,
        after: report.after,
        sequence: report.sequence,
        sight: match report.sight {
            Sight::Blind => proto::Sight::Blind,
            Sight::Alone => proto::Sight::Alone,
            Sight::Sighted => proto::Sight::Sighted,
        }
        .into(),
        age_ms: u32::try_from(report.age.as_millis()).unwrap_or(u32::MAX),
        statements: report.statements.iter().map(statement).collect(),
    }
}

fn statement(statement: &Statement) -> proto::Statement {
    let Judgement { health, since, returned_at, failure } = &statement.judgement;
    let millis = |at: &Option<Timestamp>| at.map_or(0, |at| at.0);
    proto::Statement {
        check: Bytes::copy_from_slice(&statement.check.number().to_be_bytes()),
        sequence: statement.sequence,
        health: match health {
            Health::Unknown => proto::Health::Unknown,
            Health::Up => proto::Health::Up,
            Health::Down => proto::Health::Down,
        }
        .into(),
        since_ms: millis(since),
        returned_ms: millis(returned_at),
        failure: failure.as_ref().map_or_else(String::new, |failure| failure.category.word().to_owned()),
        detail: failure.as_ref().map_or_else(String::new, |failure| failure.detail.clone()),
    }
}

/// Reads the reports of a frame. What they claim is judged by who hears them.
pub(super) fn read_news(octets: Bytes) -> Result<Vec<Report>, Unreadable> {
    let news = proto::News::decode(octets).map_err(|error| Unreadable::Form(error.to_string()))?;
    let n_statements: usize = news.reports.iter().map(|report| report.statements.len()).sum();
    if news.reports.len() > REPORTS_PER_FRAME_MAX || n_statements > STATEMENTS_PER_FRAME_MAX {
        return Err(Unreadable::TooMuch);
    }
    news.reports.into_iter().map(read_report).collect()
}

fn read_report(report: proto::Report) -> Result<Report, Unreadable> {
    let sight = match report.sight() {
        proto::Sight::Unspecified => return Err(Unreadable::Word),
        proto::Sight::Blind => Sight::Blind,
        proto::Sight::Alone => Sight::Alone,
        proto::Sight::Sighted => Sight::Sighted,
    };
    let statements = report.statements.into_iter().map(read_statement).collect::<Result<_, _>>()?;
    Ok(Report {
        observer: Label::new(&report.observer),
        region: Label::new(&report.region),
        incarnation: report.incarnation,
        after: report.after,
        sequence: report.sequence,
        sight,
        age: Duration::from_millis(report.age_ms.into()),
        statements,
    })
}

fn read_statement(statement: proto::Statement) -> Result<Statement, Unreadable> {
    let health = match statement.health() {
        proto::Health::Unspecified => return Err(Unreadable::Word),
        proto::Health::Unknown => Health::Unknown,
        proto::Health::Up => Health::Up,
        proto::Health::Down => Health::Down,
    };
    let at = |millis: i64| Some(Timestamp(millis)).filter(|at| at.0 != 0);
    // A newer sender's category still is a failure, and an answer of some kind is the milder guess.
    let category = |word: &str| FailureCategory::from_word(word).unwrap_or(FailureCategory::Protocol);
    let failure =
        Some(&statement.failure).filter(|word| !word.is_empty()).map(|word| Arc::new(Failure::new(category(word), &statement.detail)));
    Ok(Statement {
        check: read_key(&statement.check)?,
        sequence: statement.sequence,
        judgement: Judgement { health, since: at(statement.since_ms), returned_at: at(statement.returned_ms), failure },
    })
}

pub(super) fn read_key(octets: &[u8]) -> Result<CheckKey, Unreadable> {
    let octets: [u8; 16] = octets.try_into().map_err(|_| Unreadable::Key(octets.len()))?;
    Ok(CheckKey::from_number(u128::from_be_bytes(octets)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn_statement() -> impl Strategy<Value = Statement> {
        let failure = prop::option::of((prop::sample::select(FailureCategory::ALL.to_vec()), "[a-z ]{0,40}"));
        (any::<u128>(), any::<u64>(), 0..3_u8, 0..9_i64, 0..9_i64, failure).prop_map(
            |(check, sequence, health, since, returned, failure)| {
                let at = |millis: i64| Some(Timestamp(millis)).filter(|at| at.0 != 0);
                let health = [Health::Unknown, Health::Up, Health::Down][usize::from(health)];
                let failure = failure.map(|(category, detail)| Arc::new(Failure::new(category, &detail)));
                let judgement = Judgement { health, since: at(since), returned_at: at(returned), failure };
                Statement { check: CheckKey::from_number(check), sequence, judgement }
            },
        )
    }

    proptest! {
        #[test]
        fn a_report_travels_whole(
            statements in prop::collection::vec(drawn_statement(), 0..9), numbers in any::<(u64, u64, u64)>(), sight in 0..3_usize, age in any::<u32>(),
        ) {
            let sight = [Sight::Blind, Sight::Alone, Sight::Sighted][sight];
            let (incarnation, after, sequence) = numbers;
            let age = Duration::from_millis(age.into());
            let whole = Report { observer: "eu-1".into(), region: "eu".into(), incarnation, after, sequence, sight, age, statements };
            let news = proto::News { reports: vec![report(&whole)] };
            prop_assert_eq!(read_news(news.encode_to_vec().into()), Ok(vec![whole]));
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_news(octets.into());
        }
    }

    #[test]
    fn what_a_newer_node_says_is_refused_where_it_matters() {
        let good = proto::Report { observer: "a".to_owned(), region: "b".to_owned(), sight: 3, ..proto::Report::default() };
        let statement = proto::Statement { check: Bytes::from_static(&[0; 16]), health: 3, ..proto::Statement::default() };
        let read = |report: &proto::Report| read_news(proto::News { reports: vec![report.clone()] }.encode_to_vec().into());
        let with = |statement: proto::Statement| proto::Report { statements: vec![statement], ..good.clone() };
        assert!(read(&with(statement.clone())).is_ok());
        assert_eq!(read(&proto::Report { sight: 9, ..good.clone() }), Err(Unreadable::Word));
        assert_eq!(read(&with(proto::Statement { health: 9, ..statement.clone() })), Err(Unreadable::Word));
        assert_eq!(read(&with(proto::Statement { check: Bytes::from_static(&[0; 15]), ..statement.clone() })), Err(Unreadable::Key(15)));
        let unknown = read(&with(proto::Statement { failure: "moonshine".to_owned(), ..statement.clone() })).unwrap();
        assert_eq!(unknown[0].statements[0].judgement.failure.as_ref().unwrap().category, FailureCategory::Protocol);
        let many = proto::Report { statements: vec![statement; STATEMENTS_PER_FRAME_MAX + 1], ..good };
        assert_eq!(read(&many), Err(Unreadable::TooMuch));
    }
}
