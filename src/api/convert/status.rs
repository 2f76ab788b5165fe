//! The whole picture.

use portolan_core::{
    model::{
        units::{Share, Ttl, Weight},
        verdict::Health,
    },
    node::report::{EndpointStatus, Notice, RegionStatus, ServiceStatus, Severity, State, Status},
};

use super::{Unreadable, duration_in, duration_out, narrow, required, time_in, time_out, unknown};
use crate::api::proto;

impl From<&Status> for proto::Status {
    fn from(status: &Status) -> Self {
        Self {
            plan: status.plan.clone(),
            revision: status.revision,
            digest: status.digest.clone(),
            node: status.node.clone(),
            region: status.region.clone(),
            vantage: status.vantage.clone(),
            time: Some(time_out(status.at)),
            generation: status.generation,
            state: state_out(status.state).into(),
            headline: status.headline.clone(),
            regions: status.regions.iter().map(region_out).collect(),
            services: status.services.iter().map(service_out).collect(),
            notices: status.notices.iter().map(notice_out).collect(),
        }
    }
}

impl TryFrom<proto::Status> for Status {
    type Error = Unreadable;

    fn try_from(wire: proto::Status) -> Result<Self, Unreadable> {
        Ok(Self {
            state: state_in(wire.state, "state")?,
            at: time_in(required(wire.time, "time")?),
            plan: wire.plan,
            revision: wire.revision,
            digest: wire.digest,
            node: wire.node,
            region: wire.region,
            vantage: wire.vantage,
            generation: wire.generation,
            headline: wire.headline,
            regions: wire.regions.into_iter().map(region_in).collect::<Result<_, _>>()?,
            services: wire.services.into_iter().map(service_in).collect::<Result<_, _>>()?,
            notices: wire.notices.into_iter().map(notice_in).collect::<Result<_, _>>()?,
        })
    }
}

pub(in crate::api) fn region_out(region: &RegionStatus) -> proto::RegionStatus {
    proto::RegionStatus {
        name: region.name.clone(),
        observed: health_out(region.observed).into(),
        since: region.since.map(time_out),
        intended: region.intended.clone(),
        endpoints_up: region.endpoints_up,
        endpoints_total: region.endpoints_total,
        failures: region.failures,
        weight: region.weight.map(|weight| weight.0.into()),
        priority: region.priority.map(Into::into),
        share_wanted: region.share_wanted.points().into(),
        share_served: region.share_served.map(|share| share.points().into()),
        cause: region.cause.clone(),
        cluster: region.cluster.clone(),
        failure_domain: region.failure_domain.clone(),
    }
}

fn region_in(wire: proto::RegionStatus) -> Result<RegionStatus, Unreadable> {
    Ok(RegionStatus {
        observed: health_in(wire.observed, "regions.observed")?,
        weight: wire.weight.map(|weight| narrow(weight, "regions.weight").map(Weight)).transpose()?,
        priority: wire.priority.map(|priority| narrow(priority, "regions.priority")).transpose()?,
        share_wanted: share_in(wire.share_wanted, "regions.share_wanted")?,
        share_served: wire.share_served.map(|share| share_in(share, "regions.share_served")).transpose()?,
        name: wire.name,
        since: wire.since.map(time_in),
        intended: wire.intended,
        endpoints_up: wire.endpoints_up,
        endpoints_total: wire.endpoints_total,
        failures: wire.failures,
        cause: wire.cause,
        cluster: wire.cluster,
        failure_domain: wire.failure_domain,
    })
}

pub(in crate::api) fn service_out(service: &ServiceStatus) -> proto::ServiceStatus {
    proto::ServiceStatus {
        name: service.name.clone(),
        hostnames: service.hostnames.clone(),
        steering: service.steering.clone(),
        state: state_out(service.state).into(),
        all_down: service.all_down.clone(),
        ttl: Some(duration_out(service.ttl.duration())),
        drained_by: service.drained_by.map(time_out),
        endpoints: service.endpoints.iter().map(endpoint_out).collect(),
    }
}

fn service_in(wire: proto::ServiceStatus) -> Result<ServiceStatus, Unreadable> {
    Ok(ServiceStatus {
        state: state_in(wire.state, "services.state")?,
        ttl: Ttl::from_duration(duration_in(required(wire.ttl, "services.ttl")?, "services.ttl")?),
        name: wire.name,
        hostnames: wire.hostnames,
        steering: wire.steering,
        all_down: wire.all_down,
        drained_by: wire.drained_by.map(time_in),
        endpoints: wire.endpoints.into_iter().map(endpoint_in).collect::<Result<_, _>>()?,
    })
}

pub(in crate::api) fn endpoint_out(endpoint: &EndpointStatus) -> proto::EndpointStatus {
    proto::EndpointStatus {
        name: endpoint.name.clone(),
        region: endpoint.region.clone(),
        observed: health_out(endpoint.observed).into(),
        since: endpoint.since.map(time_out),
        intended: endpoint.intended.clone(),
        served: endpoint.served,
        note: endpoint.note.clone(),
        ticks: endpoint.ticks.clone(),
        failure: endpoint.failure.clone(),
        latency: endpoint.latency.map(duration_out),
    }
}

fn endpoint_in(wire: proto::EndpointStatus) -> Result<EndpointStatus, Unreadable> {
    Ok(EndpointStatus {
        observed: health_in(wire.observed, "endpoints.observed")?,
        latency: wire.latency.map(|latency| duration_in(latency, "endpoints.latency")).transpose()?,
        name: wire.name,
        region: wire.region,
        since: wire.since.map(time_in),
        intended: wire.intended,
        served: wire.served,
        note: wire.note,
        ticks: wire.ticks,
        failure: wire.failure,
    })
}

fn notice_out(notice: &Notice) -> proto::Notice {
    let severity = match notice.severity {
        Severity::Info => proto::notice::Severity::Info,
        Severity::Warning => proto::notice::Severity::Warning,
        Severity::Critical => proto::notice::Severity::Critical,
    };
    proto::Notice { severity: severity.into(), kind: notice.kind.clone(), text: notice.text.clone() }
}

fn notice_in(wire: proto::Notice) -> Result<Notice, Unreadable> {
    let severity = match wire.severity() {
        proto::notice::Severity::Info => Severity::Info,
        proto::notice::Severity::Warning => Severity::Warning,
        proto::notice::Severity::Critical => Severity::Critical,
        proto::notice::Severity::Unspecified => return Err(unknown("notices.severity", wire.severity)),
    };
    Ok(Notice { severity, kind: wire.kind, text: wire.text })
}

fn health_out(health: Health) -> proto::Health {
    match health {
        Health::Unknown => proto::Health::Unknown,
        Health::Up => proto::Health::Up,
        Health::Down => proto::Health::Down,
    }
}

fn health_in(value: i32, field: &'static str) -> Result<Health, Unreadable> {
    match proto::Health::try_from(value) {
        Ok(proto::Health::Unknown) => Ok(Health::Unknown),
        Ok(proto::Health::Up) => Ok(Health::Up),
        Ok(proto::Health::Down) => Ok(Health::Down),
        Ok(proto::Health::Unspecified) | Err(_) => Err(unknown(field, value)),
    }
}

fn state_out(state: State) -> proto::status::State {
    match state {
        State::Ok => proto::status::State::Ok,
        State::Starting => proto::status::State::Starting,
        State::Degraded => proto::status::State::Degraded,
        State::Failing => proto::status::State::Failing,
    }
}

fn state_in(value: i32, field: &'static str) -> Result<State, Unreadable> {
    match proto::status::State::try_from(value) {
        Ok(proto::status::State::Ok) => Ok(State::Ok),
        Ok(proto::status::State::Starting) => Ok(State::Starting),
        Ok(proto::status::State::Degraded) => Ok(State::Degraded),
        Ok(proto::status::State::Failing) => Ok(State::Failing),
        Ok(proto::status::State::Unspecified) | Err(_) => Err(unknown(field, value)),
    }
}

fn share_in(value: u32, field: &'static str) -> Result<Share, Unreadable> {
    let points = narrow(value, field)?;
    let share = Share::basis_points(points);
    if share.points() == points { Ok(share) } else { Err(unknown(field, value)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portolan_core::model::time::Timestamp;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "[a-z0-9. -]{0,12}"
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (-10_000_000_000i64..10_000_000_000_000).prop_map(Timestamp)
    }

    fn health() -> impl Strategy<Value = Health> {
        prop_oneof![Just(Health::Unknown), Just(Health::Up), Just(Health::Down)]
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::Ok), Just(State::Starting), Just(State::Degraded), Just(State::Failing)]
    }

    fn share() -> impl Strategy<Value = Share> {
        (0u16..=10_000).prop_map(Share::basis_points)
    }

    prop_compose! {
        fn region()(
            (name, observed, since, intended) in (text(), health(), proptest::option::of(time()), proptest::collection::vec(text(), 0..2)),
            (endpoints_up, endpoints_total, failures) in any::<(u32, u32, u32)>(),
            (weight, priority) in any::<(Option<u16>, Option<u16>)>(),
            (share_wanted, share_served, cause) in (share(), proptest::option::of(share()), proptest::option::of(text())),
            (cluster, failure_domain) in any::<(Option<String>, Option<String>)>(),
        ) -> RegionStatus {
            let weight = weight.map(Weight);
            RegionStatus {
                name, observed, since, intended, endpoints_up, endpoints_total, failures, weight, priority, share_wanted, share_served, cause,
                cluster, failure_domain,
            }
        }
    }

    prop_compose! {
        fn endpoint()(
            (name, region, observed, since) in (text(), text(), health(), proptest::option::of(time())),
            (intended, note, failure) in any::<(Option<String>, Option<String>, Option<String>)>(),
            (served, ticks, latency) in (any::<bool>(), "[ox]{0,20}", proptest::option::of((0u64..1u64 << 50).prop_map(Duration::from_nanos))),
        ) -> EndpointStatus {
            EndpointStatus { name, region, observed, since, intended, served, note, ticks, failure, latency }
        }
    }

    prop_compose! {
        fn service()(
            (name, steering, state, all_down) in (text(), text(), state(), proptest::option::of(text())),
            hostnames in proptest::collection::vec(text(), 0..3),
            (ttl, drained_by) in (any::<u32>().prop_map(Ttl::from_secs), proptest::option::of(time())),
            endpoints in proptest::collection::vec(endpoint(), 0..3),
        ) -> ServiceStatus {
            ServiceStatus { name, hostnames, steering, state, all_down, ttl, drained_by, endpoints }
        }
    }

    prop_compose! {
        fn status()(
            [plan, digest, node, region, vantage] in [text(), text(), text(), text(), text()],
            (revision, generation, at, state) in (any::<u64>(), any::<u64>(), time(), state()),
            headline in proptest::collection::vec(text(), 0..3),
            regions in proptest::collection::vec(region(), 0..4),
            services in proptest::collection::vec(service(), 0..3),
            notices in proptest::collection::vec(
                (prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)], text(), text())
                    .prop_map(|(severity, kind, text)| Notice { severity, kind, text }),
                0..3,
            ),
        ) -> Status {
            Status { plan, revision, digest, node, region, vantage, at, generation, state, headline, regions, services, notices }
        }
    }

    proptest! {
        #[test]
        fn pictures_go_there_and_back(status in status()) {
            let wire = proto::Status::from(&status).encode_to_vec();
            prop_assert_eq!(Status::try_from(proto::Status::decode(wire.as_slice()).unwrap()), Ok(status));
        }
    }

    #[test]
    fn values_of_a_newer_daemon_are_named_not_guessed() {
        assert_eq!(state_in(9, "state").unwrap_err().field, "state");
        assert_eq!(health_in(0, "regions.observed").unwrap_err().problem, "has the unknown value 0");
        assert!(share_in(10_001, "regions.share_wanted").is_err());
    }
}
