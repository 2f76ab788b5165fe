//! Probes against servers on loopback that behave well, badly and worse.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

mod dns;
mod evil;
mod grpc;
mod http;
mod mariadb;
mod postgres;
mod prometheus;
mod scheduler;
mod server;
mod tcp;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use portolan::probe::{self, ProbeEnv};
use portolan_core::model::{
    check::{
        Address, BodyMatch, Cadence, Check, Failure, FailureCategory, Flap, Host, HttpExpect, HttpMethod, Observation, Outcome, Probe,
        ProbeKind, ServerEngine, ServerRole,
    },
    time::Timestamp,
};

/// Of every probe here that is meant to run into it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// What a probe with [`TIMEOUT`] may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of probes that are meant to end long before it, however busy the machine.
const AMPLE: Duration = Duration::from_secs(30);

/// 2026-11-22, the clock of all tests.
const NOW: Timestamp = Timestamp(1_795_316_600_000);

fn env() -> ProbeEnv {
    ProbeEnv::new(Arc::new(NOW))
}

fn check(target: Option<SocketAddr>, kind: ProbeKind, timeout: Duration) -> Check {
    let address = target.map(|target| Address { host: Host::Ip(target.ip()), port: target.port() });
    let second = Duration::from_secs(1);
    let cadence = Cadence {
        interval: second,
        fast_interval: second,
        down_interval: second,
        timeout,
        fall: 1,
        rise: 1,
        ok_run: 1,
        flap: Flap { window: Duration::ZERO, rise_max: 1 },
    };
    Check { address, probe: Arc::new(Probe { kind, cadence }) }
}

fn get(body: Option<BodyMatch>) -> ProbeKind {
    ProbeKind::Http {
        tls: None,
        host: None,
        method: HttpMethod::Get,
        path: "/health".to_owned(),
        headers: Vec::new(),
        expect: HttpExpect { status: vec![(200, 299)], body },
    }
}

fn has(text: &str) -> Option<BodyMatch> {
    Some(BodyMatch::Contains(text.to_owned()))
}

fn json(pointer: &str, equals: &str) -> Option<BodyMatch> {
    Some(BodyMatch::Json { pointer: pointer.to_owned(), equals: equals.to_owned() })
}

async fn observe(check: &Check) -> Observation {
    probe::run(check, &env()).await.expect("a kind that is probed")
}

async fn probe(target: SocketAddr, kind: ProbeKind) -> Observation {
    observe(&check(Some(target), kind, AMPLE)).await
}

#[track_caller]
fn passed(observation: &Observation) {
    assert_eq!(observation.outcome, Outcome::Passed);
}

/// The failure, which must be of this category.
#[track_caller]
fn failed(observation: &Observation, category: FailureCategory) -> Failure {
    match &observation.outcome {
        Outcome::Failed(failure) if failure.category == category => failure.clone(),
        other => panic!("expected {category}, got {other:?}"),
    }
}

mod answers {
    use proptest::prelude::*;

    use super::probe::fuzz_answers;

    proptest! {
        #[test]
        fn no_octets_are_too_strange(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz_answers(&octets);
        }

        /// Records behind a well-formed header, so that their data is reached.
        #[test]
        fn no_record_is_too_strange(
            kind in any::<u16>(),
            count in 0_u16..3,
            section in 0_usize..3,
            data in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut message = vec![0; 12];
            message[2] = 0x80;
            message[7 + 2 * section] = u8::try_from(count).unwrap();
            for _ in 0..count {
                message.push(0);
                message.extend(kind.to_be_bytes());
                message.extend([0, 1, 0, 0, 0, 60]);
                message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                message.extend(&data);
            }
            fuzz_answers(&message);
        }
    }

    #[test]
    fn every_record_type_has_a_text_or_none() {
        for kind in 0..=300_u16 {
            let mut message = vec![0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60, 0, 0]);
            fuzz_answers(&message);
        }
    }
}
