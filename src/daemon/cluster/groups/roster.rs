//! Which agent stands beside which member, by the plan in force.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_core::{
    cluster::PlanInForce,
    failover::{order::Restore, token::Token},
    model::{check::Address, ids::Label},
    plan::{
        Trigger, ValidationStep, region_triggers, restore,
        sections::{DataGroup, Engine, Member},
        triggers, validation,
    },
};

use super::{hooks::Hooks, validate::Subject};

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

/// A member as it shows what the plan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    engine: Engine,
    address: Address,
    dsn: Option<String>,
    steps: Arc<Vec<ValidationStep>>,
    triggers: Arc<Vec<Trigger>>,
}

/// A member as sessions reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) engine: Engine,
    pub(super) address: Address,
    /// The name of its connection string; `None`: it has none.
    pub(super) dsn: Option<String>,
}

/// All agents of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    /// By group and region: where the database listens, the name of its connection string, and what it must show after a promotion.
    members: BTreeMap<(Label, Label), Shown>,
    /// By group: how long a resolver may hold the name of its primary; groups that no name follows are not in here.
    tails: BTreeMap<Label, Duration>,
    /// By region: the rollback triggers as they are asked for while its traffic returns.
    triggers: BTreeMap<Label, Arc<Vec<Trigger>>>,
    /// By group: the programs that are run for it.
    hooks: BTreeMap<Label, Arc<Hooks>>,
    places: BTreeMap<Label, Place>,
    agents: BTreeMap<(Label, Label), Label>,
    /// By group: how a backup of its data becomes a data directory; groups for which the plan does not say are not in here.
    restores: BTreeMap<Label, Restore>,
    /// The channels that the plan names for people to be told over, as it writes them.
    channels: Vec<String>,
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
        for follows in loaded.plan.services.iter().filter_map(|(_, service)| service.follows.as_ref()) {
            let tail = roster.tails.entry(follows.group.clone()).or_default();
            *tail = follows.ttl.max.max(*tail);
        }
        for (region, _) in loaded.plan.regions.iter() {
            roster.triggers.insert(region.clone(), Arc::new(region_triggers(&loaded.plan, region)));
        }
        let channels = loaded.plan.disaster_recovery.as_ref().map(|recovery| &recovery.failover_automation.notification_channels);
        roster.channels = channels.into_iter().flatten().map(|channel| channel.word().to_owned()).collect();
        for (group, data) in loaded.plan.data_groups.iter() {
            roster.take(group, data);
            roster.hooks.insert(group.clone(), Arc::new(Hooks::of(data)));
            if let Some((class, hook)) = restore(&loaded.plan, data) {
                roster.restores.insert(group.clone(), Restore { class: class.clone(), hook: hook.clone() });
            }
            for (region, member) in data.members.iter() {
                let steps = Arc::new(validation(&loaded.plan, group, region));
                let triggers = Arc::new(triggers(&loaded.plan, group, region));
                let dsn = member.dsn.as_ref().map(|dsn| dsn.0.to_string());
                let address = member.address.0.clone();
                let shown = Shown { engine: data.engine, address, dsn, steps, triggers };
                roster.members.insert((group.clone(), region.clone()), shown);
            }
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

    /// What is to be shown of a member that was promoted by this grant.
    pub(super) fn subject(&self, group: &Label, region: &Label, token: Token) -> Option<Subject> {
        let Shown { engine, address, dsn, steps, .. } = self.members.get(&(group.clone(), region.clone()))?.clone();
        Some(Subject { group: group.clone(), region: region.clone(), engine, address, dsn, steps, token })
    }

    /// Where a member is asked.
    pub(super) fn target(&self, group: &Label, region: &Label) -> Option<Target> {
        let Shown { engine, address, dsn, .. } = self.members.get(&(group.clone(), region.clone()))?.clone();
        Some(Target { engine, address, dsn })
    }

    /// The rollback triggers as they are asked for in a member's region; empty: there are none.
    pub(super) fn triggers(&self, group: &Label, region: &Label) -> Arc<Vec<Trigger>> {
        self.members.get(&(group.clone(), region.clone())).map(|shown| Arc::clone(&shown.triggers)).unwrap_or_default()
    }

    /// The rollback triggers as they are asked for while a region's traffic returns; empty: there are none.
    pub(super) fn region_triggers(&self, region: &Label) -> Arc<Vec<Trigger>> {
        self.triggers.get(region).map(Arc::clone).unwrap_or_default()
    }

    /// The programs that are run for a group.
    pub(super) fn hooks(&self, group: &Label) -> Arc<Hooks> {
        self.hooks.get(group).map(Arc::clone).unwrap_or_default()
    }

    /// How a backup of a group's data becomes a data directory; `None`: the plan does not say.
    pub(super) fn restore(&self, group: &Label) -> Option<&Restore> {
        self.restores.get(group)
    }

    /// The channels that the plan names; this version sends to none.
    pub(super) fn channels(&self) -> &[String] {
        &self.channels
    }

    /// How long caches may answer with the old primary after names lead to the new one.
    pub(super) fn tail(&self, group: &Label) -> Duration {
        self.tails.get(group).copied().unwrap_or_default()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Label> + Clone {
        self.places.keys()
    }
}
