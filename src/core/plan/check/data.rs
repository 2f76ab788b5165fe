//! Data groups: members that exist, a lease that can be kept, and a fence that can confirm.

use std::time::Duration;

use super::{Context, Findings, at, check_target, unknown};
use crate::{
    document::{Path, Word, did_you_mean},
    model::{check::Host, ids::Label, time::Human, units::Share},
    plan::{
        groups::wants_automatic,
        resolve::lies_in,
        sections::{DataGroup, DurabilityWord, Engine, FenceRung, OnControlLossWord, Plan},
    },
};

/// The smallest scale: the defaults are then just long enough.
const SCALE_MIN: Share = Share::percent(5);

/// A manager that promotes inside a region may need so long: Patroni its `ttl` of 30s, a look of 10s and the promotion, CloudNativePG about as much.
const HEALS: Duration = Duration::from_secs(45);

/// In less no process is killed, and no probe made, on a machine that has other work.
const SCALED_TIME_MIN: Duration = Duration::from_millis(500);

pub(super) fn check(plan: &Plan, context: Context<'_>, out: &mut Findings) {
    for (name, group) in plan.data_groups.iter() {
        let path = at("data_groups", name);
        members(plan, context, group, &path, out);
        if group.engine == Engine::Redis && group.durability == DurabilityWord::RemoteQuorum {
            let message = "Redis acknowledges writes before any replica has them, so `remote_quorum` cannot be promised";
            out.error(path.clone().key("durability"), message, "write `durability: async`, and an rpo_target that a loss may have");
        }
        times(plan, group, &path, out);
        time_scale(group, &path, out);
        fence(group, &path, out);
        if group.engine == Engine::Mariadb && group.durability == DurabilityWord::RemoteQuorum {
            let message = "MariaDB cannot promise a quorum: a standby throws away what it acknowledged when it starts again";
            out.error(path.clone().key("durability"), message, "write `durability: async`");
        }
        if group.engine.has_manager() && group.durability == DurabilityWord::RemoteQuorum {
            let message = "nobody can promise what another manager's replicas acknowledge, so `remote_quorum` cannot be promised";
            out.error(path.clone().key("durability"), message, "write `durability: async`, and an rpo_target that a loss may have");
        }
        managed(plan, group, &path, out);
        if group.allow_reclone && group.engine != Engine::Postgresql {
            let message = match group.engine {
                Engine::Redis | Engine::Fake => "it copies the primary by itself whenever it must, so this key changes nothing",
                engine if engine.has_manager() => "its manager makes copies, so this key changes nothing",
                _ => "a new copy is made by hand for this engine: an empty data directory that mariadb-backup filled, or a dump",
            };
            out.warning(path.clone().key("allow_reclone"), message, "remove `allow_reclone`");
        }
        let classes = plan.disaster_recovery.iter().flat_map(|recovery| recovery.backup_strategy.keys());
        if let Some(class) = &group.data_class
            && !classes.clone().any(|known| known == class)
        {
            unknown(out, path.clone().key("data_class"), "backup class", class, classes.collect::<Vec<_>>().into_iter());
        }
        let automatic = wants_automatic(plan, group);
        if group.automatic_failover == Some(true) && !automatic {
            let message = "a group narrows automatic failover, it never widens it: the plan has it off";
            out.warning(
                path.clone().key("automatic_failover"),
                message,
                "switch it on in disaster_recovery.failover_automation, or remove it here",
            );
        }
        if let (Some(own), Some(general)) = (group.mode, plan.mode)
            && own > general
        {
            let message = format!("`{own}` is wider than the plan's mode `{general}`, which rules");
            out.warning(path.clone().key("mode"), message, "a group narrows the mode, it never widens it");
        }
        if automatic && group.on_control_loss == OnControlLossWord::Keep {
            let message = "`keep` lets the holder write without a quorum, so this group never fails over automatically";
            out.warning(path.clone().key("on_control_loss"), message, "use hold_if_all_ack or fence, or write `automatic_failover: false`");
        }
        if automatic {
            candidates(group, &path, out);
        }
    }
}

/// What is so where another manager runs the database: the end of a lease proves nothing there, and the manager heals inside its region.
fn managed(plan: &Plan, group: &DataGroup, path: &Path, out: &mut Findings) {
    if !group.engine.has_manager() {
        return;
    }
    if wants_automatic(plan, group) && !group.fence.iter().any(|rung| rung.hook.is_some() && rung.confirms) {
        let message =
            "another manager runs it, so nothing proves that a region which is gone does not write: its failover waits for a person";
        out.warning(path.clone().key("fence"), message, "add a hook that cuts the region off, with `confirms: true`");
    }
    if matches!(group.engine, Engine::Patroni | Engine::CloudNativePg) && group.local_recovery < HEALS {
        let message =
            format!("the region is given {} to heal by itself, and its manager may take {}", group.local_recovery.show(), HEALS.show());
        out.warning(
            path.clone().key("local_recovery"),
            message,
            "write a longer time, or the manager's own failover counts as a lost region",
        );
    }
}

fn members(plan: &Plan, context: Context<'_>, group: &DataGroup, path: &Path, out: &mut Findings) {
    let here = |region: &Label| path.clone().key("members").key(region);
    if !group.members.contains(&group.primary) {
        let fix = did_you_mean(group.primary.as_str(), group.members.keys().map(Label::as_str));
        out.error(path.clone().key("primary"), format!("the primary's region {} has no member", group.primary), fix);
    } else if group.members.get(&group.primary).is_some_and(|member| !member.candidate) {
        let message = format!("{} is the primary, but no candidate: after a failover it could never take over again", group.primary);
        out.warning(here(&group.primary).key("candidate"), message, "remove `candidate: false`");
    }
    for (i, (region, member)) in group.members.iter().enumerate() {
        if !plan.regions.contains(region) {
            unknown(out, here(region), "region", region, plan.regions.keys());
        }
        if member.dsn.is_none() && !matches!(group.engine, Engine::Redis | Engine::Fake | Engine::Exec | Engine::Http) {
            let message = "without a connection string the database can be neither probed nor asked";
            out.error(here(region), message, "add `dsn`, a name in secrets_dir");
        }
        if let Host::Ip(address) = member.address.0.host {
            check_target(out, context, || here(region).key("address"), address);
        }
        if let Some(address) = member.publish {
            super::health::check_family(out, || here(region).key("publish"), address);
            check_target(out, context, || here(region).key("publish"), address);
        }
        let earlier = || group.members.iter().take(i);
        if let Some((other, _)) = earlier().find(|(_, other)| other.address == member.address) {
            out.error(
                here(region).key("address"),
                format!("{} is the member of {other} already", member.address.0),
                "each member has an address of its own",
            );
        }
        if let Some(agent) = &member.agent
            && let Some((other, _)) = earlier().find(|(_, other)| other.agent.as_ref() == Some(agent))
        {
            out.error(
                here(region).key("agent"),
                format!("the agent `{agent}` stands beside the member of {other} already"),
                "each member has an agent of its own",
            );
        }
    }
    if let Some(laws) = &group.residency {
        let known: Vec<&str> = plan.regions.iter().filter_map(|(_, region)| region.jurisdiction.as_ref().map(Label::as_str)).collect();
        for (i, law) in laws.iter().enumerate().filter(|(_, law)| !known.contains(&law.as_str())) {
            let fix = did_you_mean(law.as_str(), known.iter().copied());
            out.error(path.clone().key("residency").item(i), format!("no region has the jurisdiction `{law}`"), fix);
        }
        if plan.regions.get(&group.primary).is_some_and(|region| !lies_in(region, laws)) {
            let message = format!("the primary's region {} lies outside the group's residency", group.primary);
            out.error(path.clone().key("primary"), message, "name a region inside, or widen `residency`");
        }
    }
}

/// Who could take over.
fn candidates(group: &DataGroup, path: &Path, out: &mut Findings) {
    let candidates: Vec<&Label> =
        group.members.iter().filter(|(region, member)| **region != group.primary && member.candidate).map(|(region, _)| region).collect();
    match candidates.as_slice() {
        [] => out.warning(
            path.clone().key("members"),
            "nobody can take over: automatic failover has no candidate",
            "add a member with `candidate: true`",
        ),
        [one] => {
            let message = format!("{one} is the only candidate: if it is lost together with the primary, nothing recovers automatically");
            out.warning(path.clone().key("members"), message, "make another member a candidate");
        }
        _ => {}
    }
}

fn times(plan: &Plan, group: &DataGroup, path: &Path, out: &mut Findings) {
    if group.lease.margin >= group.lease.ttl {
        let message = format!("margin {} is not less than ttl {}", group.lease.margin.show(), group.lease.ttl.show());
        out.error(path.clone().key("lease").key("margin"), message, "leave time to write: a margin is a small part of the lease");
    } else if group.lease.margin * 2 > group.lease.ttl {
        let message = format!("margin {} is more than half of ttl {}", group.lease.margin.show(), group.lease.ttl.show());
        out.warning(path.clone().key("lease").key("margin"), message, "a short cut of the network would already stop writes");
    }
    if group.probe.timeout > group.probe.interval {
        let message = format!("timeout {} is longer than the interval {}", group.probe.timeout.show(), group.probe.interval.show());
        out.error(path.clone().key("probe").key("timeout"), message, "a round must end before the next one begins");
    }
    let Some(recovery) = &plan.disaster_recovery else { return };
    let automation = &recovery.failover_automation;
    let rounds = u32::from(automation.health_check_failures);
    let counted = group.probe.interval * rounds.saturating_sub(1);
    if counted > automation.failure_window {
        let message = format!(
            "{rounds} failed rounds of {} do not fit into the failure window of {}: automation never acts",
            group.probe.interval.show(),
            automation.failure_window.show()
        );
        out.error(path.clone().key("probe").key("interval"), message, "shorten the interval or widen the window");
    }
    // Detection and hold run first; the wait for the lease runs beside them, but never ends before it.
    let detection = (group.probe.interval * rounds + group.confirm_hold).max(group.lease.ttl);
    if detection * 2 > recovery.rto_target {
        let message = format!("detection alone takes about {} of the rto_target of {}", detection.show(), recovery.rto_target.show());
        out.warning(path.clone().key("confirm_hold"), message, "shorten probe.interval, confirm_hold or the lease, or allow more time");
    }
    if group.local_recovery * 2 > recovery.rto_target {
        let message = format!(
            "bringing the primary up again may take {} of the rto_target of {}",
            group.local_recovery.show(),
            recovery.rto_target.show()
        );
        out.warning(path.clone().key("local_recovery"), message, "shorten it, or allow more time");
    }
}

/// Clocks that run faster are for tests, on one machine.
fn time_scale(group: &DataGroup, path: &Path, out: &mut Findings) {
    let scale = group.time_scale;
    if scale.is_full() {
        return;
    }
    let here = || path.clone().key("time_scale");
    let is_here = |host: &Host| matches!(host, Host::Ip(address) if address.to_canonical().is_loopback());
    if let Some((region, member)) = group.members.iter().find(|(_, member)| !is_here(&member.address.0.host)) {
        let message = format!("is for tests on one machine, and the member of {region} is at {}", member.address.0);
        return out.error(here(), message, "remove it: between machines, times that no network keeps would stop databases");
    }
    out.warning(here(), format!("for tests only: all clocks of this group run in {} of their time", scale.show()), "remove it");
    if scale < SCALE_MIN {
        out.error(here(), format!("{} is less than {}", scale.show(), SCALE_MIN.show()), "write more");
    }
    for (word, time) in [("lease.margin", group.lease.margin), ("probe.interval", group.probe.interval)] {
        let scaled = scale.of_time(time);
        if scaled < SCALED_TIME_MIN {
            let message =
                format!("leaves {} of {word}, and {} is the least that a busy machine keeps", Human(scaled), Human(SCALED_TIME_MIN));
            out.error(here(), message, format!("write more, or a longer {word}"));
        }
    }
}

/// How the old primary is stopped.
fn fence(group: &DataGroup, path: &Path, out: &mut Findings) {
    let here = |i: usize| path.clone().key("fence").item(i);
    for (i, rung) in group.fence.iter().enumerate() {
        let FenceRung { agent, hook, lease, .. } = rung;
        match usize::from(agent.is_some()) + usize::from(hook.is_some()) + usize::from(lease.is_some()) {
            1 => {}
            0 => out.error(here(i), "nothing says how to fence", "write one of `agent: stop`, `hook: NAME`, `lease: expire`"),
            _ => out.error(here(i), "a rung is one of `agent`, `hook` and `lease`", "write each as a rung of its own"),
        }
        if hook.is_none() {
            for (key, is_written) in [
                ("arguments", !rung.arguments.is_empty()),
                ("confirms", rung.confirms),
                ("unfence", rung.unfence.is_some()),
                ("timeout", rung.timeout.is_some()),
            ] {
                if is_written {
                    out.warning(here(i).key(key), "is only used with `hook`", format!("remove `{key}`"));
                }
            }
        }
        if hook.is_some() && rung.confirms && rung.unfence.is_none() {
            let message = "without `unfence` no drill can show that it stops a primary, so that its success proves nothing";
            out.warning(here(i).key("confirms"), message, "add `unfence`, the program that lets in again whom this one cut off");
        }
        if agent.is_some() && group.members.iter().all(|(_, member)| member.agent.is_none()) {
            out.error(here(i).key("agent"), "no member has an agent", "add `agent` to the members, or remove this rung");
        }
        if lease.is_some() && i + 1 < group.fence.len() {
            out.warning(here(i + 1), "is never tried: the lease before it always ends", "put `lease: expire` last");
        }
    }
    if group.fence.is_empty() && group.engine != Engine::Exec {
        out.warning(
            path.clone().key("fence"),
            "no fence is named: every failover is held for a person",
            "add at least `- { lease: expire }`",
        );
    }
}
