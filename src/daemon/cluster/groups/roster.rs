//! Which agent stands beside which member, by the plan in force.

use std::collections::BTreeMap;

use portolan_core::{
    cluster::PlanInForce,
    model::ids::Label,
    plan::sections::{DataGroup, Member},
};

use crate::{
    agent::Terms,
    daemon::{store::PlanSource, world::load_plan},
};

/// The member that an agent stands beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The data group.
    pub(super) group: Label,
    /// The member's region.
    pub(super) region: Label,
    priority: Option<u16>,
    members: Vec<(Label, String, u16)>,
}

impl Place {
    pub(super) fn terms(&self, cluster: &str) -> Terms {
        Terms {
            cluster: cluster.to_owned(),
            group: self.group.clone(),
            region: self.region.clone(),
            priority: self.priority,
            members: self.members.clone(),
        }
    }
}

/// All agents of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    /// The plan wants something to be shown after a promotion.
    pub(super) has_validation: bool,
    places: BTreeMap<Label, Place>,
    agents: BTreeMap<(Label, Label), Label>,
}

impl Roster {
    /// Of a plan that is in force: it was checked when it was put, so that one which cannot be read any more names nobody.
    pub(super) fn of(plan: &PlanInForce) -> Self {
        let source = PlanSource { text: plan.plan.text.clone(), zone_files: plan.plan.zones.clone() };
        let mut roster = Self::default();
        // Targets were judged by the nodes that run them.
        let Ok(loaded) = load_plan("the plan in force", &source, &[]).inspect_err(|error| tracing::warn!("no agent is known: {error}"))
        else {
            return roster;
        };
        let recovery = loaded.plan.disaster_recovery.as_ref().and_then(|it| it.recovery_procedures.data_recovery.as_ref());
        roster.has_validation = recovery.is_some_and(|it| !it.validation_steps.is_empty());
        for (group, data) in loaded.plan.data_groups.iter() {
            roster.take(group, data);
        }
        roster
    }

    fn take(&mut self, group: &Label, data: &DataGroup) {
        let address = |(region, member): (&Label, &Member)| (region.clone(), member.address.0.host.to_string(), member.address.0.port);
        let members: Vec<_> = data.members.iter().map(address).collect();
        for (region, member) in data.members.iter() {
            let Some(agent) = &member.agent else { continue };
            let priority = member.candidate.then_some(member.priority);
            let place = Place { group: group.clone(), region: region.clone(), priority, members: members.clone() };
            self.places.insert(agent.clone(), place);
            self.agents.insert((group.clone(), region.clone()), agent.clone());
        }
    }

    pub(super) fn place(&self, agent: &Label) -> Option<&Place> {
        self.places.get(agent)
    }

    pub(super) fn agent(&self, group: &Label, region: &Label) -> Option<&Label> {
        self.agents.get(&(group.clone(), region.clone()))
    }

    /// The agents of a group, with their regions.
    pub(super) fn of_group<'a>(&'a self, group: &'a Label) -> impl Iterator<Item = (&'a Label, &'a Label)> {
        self.agents.iter().filter(move |((of, _), _)| of == group).map(|((_, region), agent)| (region, agent))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Label> + Clone {
        self.places.keys()
    }
}
