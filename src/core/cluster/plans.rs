//! Putting a plan in force, whole or not at all.

use super::{
    apply::{Judge, Step},
    change::PutPlan,
    guardrails::Laid,
    limits::{NAME_MAX, PLAN_TEXT_MAX, ZONE_FILES_MAX, ZONE_TEXT_MAX, count, line},
    outline::Outline,
    refusal::{Refusal, Rule},
    state::PlanInForce,
};
use crate::{health::overlay::Scope, model::ids::Label};

/// The longest name of a zone file: as long as a name in the plan, with folders before it.
const ZONE_NAME_MAX: usize = 4 * NAME_MAX;

impl PutPlan {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let is_hex = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        if self.digest.len() != 64 || !self.digest.bytes().all(is_hex) {
            return Err(Refusal::new(Rule::Invalid, "the digest of the plan is not 64 digits 0-9 and a-f", "let the proposer compute it"));
        }
        if self.text.is_empty() {
            return Err(Refusal::new(Rule::Invalid, "the plan is empty", "give a document"));
        }
        count("octets in the plan", self.text.len(), PLAN_TEXT_MAX)?;
        count("zone files", self.zones.len(), ZONE_FILES_MAX)?;
        count("octets in zone files", self.zones.values().map(String::len).sum(), ZONE_TEXT_MAX)?;
        self.zones.keys().try_for_each(|zone| line("the name of a zone file", zone, ZONE_NAME_MAX))?;
        self.outline.check()
    }

    /// Whether the other says the same; comments and spaces apart.
    fn means_the_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.zones == other.zones
    }
}

impl Judge<'_> {
    pub(super) fn put_plan(&mut self, plan: &PutPlan) -> Result<Step, Refusal> {
        let state = self.state;
        plan.check()?;
        let running = state.plan.as_ref().map(|it| &it.plan);
        // What is wanted is so already, whoever expected what: a client may say it twice.
        if running.is_some_and(|running| running.revision == plan.revision && running.means_the_same(plan)) {
            return Ok(Step::Nothing);
        }
        let revision = running.map_or(0, |running| running.revision);
        if let Some(expected) = plan.expected_revision.filter(|expected| *expected != revision) {
            let text = format!("revision {expected} was expected in force, and it is {revision}");
            return Err(Refusal::new(
                Rule::RevisionMismatch,
                text,
                "look at the difference, portolan plan diff, and start from the plan in force",
            ));
        }
        let Some(running) = running else { return Ok(self.in_force(plan)) };
        if plan.revision <= revision {
            let text = if plan.revision == revision {
                format!("revision {revision} is in force with other content")
            } else {
                format!("revision {} is lower than {revision}, which is in force", plan.revision)
            };
            return Err(Refusal::new(Rule::PlanRevision, text, format!("raise the revision above {revision}")));
        }
        self.check_voters(&running.outline, &plan.outline)?;
        self.check_groups(&running.outline, &plan.outline)?;
        self.check_freeze(&Scope::Everything)?;
        let before = Laid { outline: &running.outline, orders: &state.orders };
        self.check_regions(before, Laid { outline: &plan.outline, ..before }, &[self.entry.at])?;
        self.check_share(&running.outline, self.entry.moves)?;
        Ok(self.in_force(plan))
    }

    fn in_force(&self, plan: &PutPlan) -> Step {
        Step::PutPlan(PlanInForce { plan: plan.clone(), by: self.entry.by.clone(), at: self.entry.at, index: self.index })
    }

    /// A group keeps its members while an operation is open, and the member of its primary always.
    fn check_groups(&self, before: &Outline, after: &Outline) -> Result<(), Refusal> {
        for (name, group) in &self.state.groups {
            let (Some(old), Some(primary)) = (before.groups.get(name), group.primary()) else { continue };
            let Some(new) = after.groups.get(name) else {
                if let Some(open) = &group.operation {
                    let text = format!("the plan drops group:{name}, and its op-{} is open", open.id);
                    return Err(Refusal::new(Rule::GroupInUse, text, "wait for the end of the operation, or cancel it"));
                }
                continue;
            };
            if !new.members.contains_key(primary) {
                let text = format!("the plan drops the member of group:{name} in {primary}, where its primary is");
                return Err(Refusal::new(Rule::GroupInUse, text, "move the primary first: portolan switchover GROUP --to REGION"));
            }
            if let Some(open) = group.operation.as_ref().filter(|_| old.members != new.members) {
                let text = format!("the plan changes the members of group:{name}, and its op-{} is open", open.id);
                return Err(Refusal::new(Rule::GroupInUse, text, "wait for the end of the operation, or cancel it"));
            }
        }
        Ok(())
    }

    /// The regions that leave the plan must not hold most of those that vote.
    fn check_voters(&self, before: &Outline, after: &Outline) -> Result<(), Refusal> {
        let voters = || self.state.nodes.values().filter(|known| known.node.role.votes());
        let leaves = |region: &Label| before.regions.contains(region) && !after.regions.contains(region);
        let leaving = voters().filter(|known| leaves(&known.node.region)).count();
        let all = voters().count();
        if leaving * 2 <= all {
            return Ok(());
        }
        let gone: Vec<&str> = before.regions.difference(&after.regions).map(Label::as_str).collect();
        let text = format!("the plan drops {}, where {leaving} of {all} voters are", gone.join(", "));
        Err(Refusal::new(Rule::RegionInUse, text, "move the voters first: portolan peers replace"))
    }
}
