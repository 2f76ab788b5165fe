//! Words how names that follow a primary stand.

use super::{
    Node, Served,
    report::{EndpointStatus, Notice, ServiceStatus, Severity, State},
};
use crate::{
    answer::role::{held, unproven},
    model::{
        follow::{Follows, WithoutPrimary},
        ids::{RegionIdx, ServiceIdx},
        reason::{Mark, Reason},
        time::{Now, Timestamp},
        topology::Service,
        units::Ttl,
        verdict::Health,
    },
    table::RoleView,
};

impl Node {
    fn shown_role(&self, service: ServiceIdx) -> Option<RoleView> {
        self.table.as_ref().map(|table| table.view(service).role)
    }

    /// How a service stands that follows a primary.
    pub(super) fn role_status(&self, now: Now, service: ServiceIdx, follows: &Follows, served: &Served) -> ServiceStatus {
        let it = &self.world.topology.services[service.get()];
        let view = self.shown_role(service);
        let proven = view.and_then(|view| view.proven(now.tick)).filter(|(_, remaining)| *remaining >= it.ttl.min.duration());
        let without = follows.without().unwrap_or(WithoutPrimary::Servfail);
        let last = view.and_then(|view| view.region).filter(|_| without == WithoutPrimary::Last);
        let state = match (view, proven, last) {
            (None, ..) => State::Starting,
            (_, Some(_), _) => State::Ok,
            (_, None, Some(_)) => State::Degraded,
            (_, None, None) => State::Failing,
        };
        let answered = proven.map(|(region, _)| region).or(last);
        let until = |region: RegionIdx| served.outstanding.get(&(service, region)).copied().filter(|until| *until > now.wall);
        let others = follows.members.iter().map(|member| member.region).filter(|region| Some(*region) != answered);
        ServiceStatus {
            name: it.name.to_string(),
            hostnames: it.hostnames.iter().map(ToString::to_string).collect(),
            steering: "primary".to_owned(),
            state,
            all_down: (state == State::Failing).then(|| without.word().to_owned()),
            ttl: proven.map_or(it.ttl.min, |(_, remaining)| Ttl::from_duration(remaining).clamp(it.ttl.min, it.ttl.max)),
            // Shown in seconds: a promise is rounded to the side that keeps it.
            drained_by: others.filter_map(until).map(|until| Timestamp(until.0.saturating_add(999).div_euclid(1000) * 1000)).max(),
            endpoints: self.role_members(now, it, follows, view, answered),
        }
    }

    fn role_members(
        &self,
        now: Now,
        service: &Service,
        follows: &Follows,
        view: Option<RoleView>,
        answered: Option<RegionIdx>,
    ) -> Vec<EndpointStatus> {
        let topology = &self.world.topology;
        let members = follows.members.iter().map(|member| {
            let region = &topology.regions[member.region.get()].name;
            let proven = view.and_then(|view| Some((view, view.proven(now.tick).filter(|(holder, _)| *holder == member.region)?.1)));
            EndpointStatus {
                name: format!("{}/{region}/{}", service.name, std::net::SocketAddr::new(member.address, member.port)),
                region: region.to_string(),
                observed: if proven.is_some() { Health::Up } else { Health::Unknown },
                since: None,
                intended: None,
                served: answered == Some(member.region),
                note: proven.map(|(view, remaining)| held(topology, &view, remaining, now.tick)),
                ticks: String::new(),
                failure: None,
                latency: None,
            }
        });
        members.collect()
    }

    /// What people should know of names whose primary nobody proves.
    pub(super) fn role_notices(&self, now: Now) -> Vec<Notice> {
        let topology = &self.world.topology;
        let followers = topology.services.iter().enumerate().filter_map(|(i, it)| Some((ServiceIdx::at(i), it, it.follows_primary()?)));
        let unproven = followers.filter_map(|(service, it, follows)| {
            let view = self.shown_role(service).filter(|view| view.proven(now.tick).is_none())?;
            let without = follows.without().unwrap_or(WithoutPrimary::Servfail).word();
            let text = format!("service {}: {}; without_primary {without} answers", it.name, unproven(topology, follows, &view, now.tick));
            Some(Notice { severity: Severity::Warning, kind: "role_unproven".to_owned(), text })
        });
        unproven.collect()
    }

    /// Why a service stands as it does that follows a primary.
    pub(super) fn why_role(&self, now: Now, service: ServiceIdx, follows: &Follows) -> Reason {
        let topology = &self.world.topology;
        let it = &topology.services[service.get()];
        let hostnames: Vec<String> = it.hostnames.iter().map(ToString::to_string).collect();
        let view = self.shown_role(service);
        let proven = view.and_then(|view| Some((view, view.proven(now.tick)?.1)));
        let mark = match (view, proven) {
            (None, _) => Mark::Open,
            (Some(_), Some(_)) => Mark::Yes,
            (Some(_), None) => Mark::No,
        };
        let text = format!("service {} ({}): follows the primary of group {}", it.name, hostnames.join(", "), follows.group);
        let mut reason = Reason::new(mark, text);
        reason = match (view, proven) {
            (_, Some((view, remaining))) => reason.with(Reason::new(Mark::Yes, held(topology, &view, remaining, now.tick))),
            (Some(view), None) => {
                let without = follows.without().unwrap_or(WithoutPrimary::Servfail).word();
                let text = format!("{}: without_primary {without} decides", unproven(topology, follows, &view, now.tick));
                reason.with(Reason::new(Mark::No, text))
            }
            (None, None) => reason,
        };
        for member in &follows.members {
            let region = &topology.regions[member.region.get()].name;
            let is_held = proven.is_some_and(|(view, _)| view.region == Some(member.region));
            let (mark, role) = if is_held { (Mark::Yes, "holds the role") } else { (Mark::No, "is not stated to hold it") };
            reason = reason.with(Reason::new(mark, format!("{region}: {} {role}", member.address)));
        }
        reason
            .with(Reason::new(Mark::Info, "health, overrides and the client's place move no name that follows a primary"))
            .with(Reason::new(Mark::Info, format!("who holds the role: portolan recovery status {}", follows.group)))
    }
}
