//! What is wrong, in a few sentences: the first thing that somebody reads at night.
//!
//! Invariant: empty exactly when all is well.

use super::{
    Node,
    report::{Notice, RegionStatus, ServiceStatus, Severity, State},
    status::whole_seconds,
};
use crate::{
    model::{
        ids::ServiceIdx,
        time::{Human, Now},
        topology::ResidencyMode,
        verdict::Health,
    },
    table::Tier,
};

/// Sentences of a headline; more are counted.
const LINES_MAX: usize = 8;

/// Services named in it: the regions, which are mostly the cause, must find room beside them.
const SERVICES_MAX: usize = 3;

impl Node {
    /// What is wrong, in sentences, worst first; empty when all is well.
    pub(super) fn headline(
        &self,
        now: Now,
        state: State,
        regions: &[RegionStatus],
        services: &[ServiceStatus],
        notices: &[Notice],
    ) -> Vec<String> {
        let mut lines = Vec::new();
        if state == State::Starting {
            lines.push("The first round of probes is running.".to_owned());
        }
        // Of names that follow a primary a notice tells.
        let steered = |position: usize| self.world.topology.services[position].follows_primary().is_none();
        let fails = |(position, it): &(usize, &ServiceStatus)| it.state == State::Failing && !it.endpoints.is_empty() && steered(*position);
        let failing = || services.iter().enumerate().filter(fails);
        for (position, service) in failing().take(SERVICES_MAX) {
            let rule = service.all_down.as_deref().unwrap_or("nothing");
            let dark = self.dark_clients(ServiceIdx::at(position));
            let usable = self.table.as_ref().is_some_and(|table| table.view(ServiceIdx::at(position)).best() < Some(Tier::Out));
            let clients = if usable { format!(" for clients of {}", dark.join(", ")) } else { String::new() };
            lines.push(format!("Service {} has no usable endpoint{clients}; all_down: {rule} answers.", service.name));
        }
        let n_others = failing().count().saturating_sub(SERVICES_MAX);
        if n_others > 0 {
            lines.push(format!("{n_others} more services have no usable endpoint."));
        }
        for region in regions.iter().filter(|region| region.observed == Health::Down) {
            let since = region.since.map_or_else(String::new, |since| format!(" for {}", Human(whole_seconds(now.wall.since(since)))));
            let cause = region.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause} endpoints"));
            lines.push(format!("{} is DOWN{since}{cause}.", region.name));
        }
        let tail = services.iter().filter_map(|service| service.drained_by).max();
        if let Some(tail) = tail {
            lines.push(format!("By {tail} no well-behaved resolver still holds an answer that points there."));
        }
        let partial = regions.iter().filter(|region| region.observed == Health::Up && region.endpoints_up < region.endpoints_total);
        for region in partial {
            let cause = region.cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})"));
            lines.push(format!("{}: {} of {} endpoints are up{cause}.", region.name, region.endpoints_up, region.endpoints_total));
        }
        for notice in notices.iter().filter(|notice| notice.severity > Severity::Info) {
            lines.push(match notice.kind.as_str() {
                "override" => format!("In force: {}.", notice.text),
                kind => format!("{}: {}.", kind.replace('_', " "), notice.text.trim_end_matches('.')),
            });
        }
        if lines.len() > LINES_MAX {
            let more = lines.len() - LINES_MAX + 1;
            lines.truncate(LINES_MAX - 1);
            lines.push(format!("And {more} more."));
        }
        lines
    }

    /// The clients, worded, whose strict fence has no usable endpoint inside while others have one.
    pub(super) fn dark_clients(&self, service: ServiceIdx) -> Vec<String> {
        let it = &self.world.topology.services[service.get()];
        let (Some(residency), Some(table)) = (&it.steering.residency, &self.table) else { return Vec::new() };
        if residency.mode != ResidencyMode::Strict {
            return Vec::new();
        }
        let usable = table.view(service).regions_with(|member| member.tier < Tier::Out);
        let codes = residency.by_code.iter().map(|(code, regions)| (code.to_string(), *regions));
        let others = residency.otherwise.map(|regions| ("all other places".to_owned(), regions));
        codes.chain(others).filter(|(_, regions)| regions.and(usable).is_empty()).map(|(who, _)| who).collect()
    }
}
