//! Daemons, agents as processes of their own, and real databases: a group is adopted, served whoever is lost, and switched over.

use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;
use portolan::api::proto::{CreateOverrideRequest, ListGroupsRequest, Override, Scope, StartSwitchoverRequest, r#override, scope};
use portolan_core::model::ids::Label;

use super::{cluster::*, plan::*, *};
use crate::agent::postgres::{Beside, Member, Trio, clock};

/// The group is to be left as it is, for ten minutes.
pub(super) fn hold(reason: &str) -> CreateOverrideRequest {
    CreateOverrideRequest {
        r#override: Some(Override {
            scope: Some(Scope { scope: Some(scope::Scope::Group("orders".to_owned())) }),
            kind: r#override::Kind::Hold.into(),
            expiration: Some(r#override::Expiration::Ttl(prost_types::Duration { seconds: 600, nanos: 0 })),
            ..Override::default()
        }),
        reason: reason.to_owned(),
        ..CreateOverrideRequest::default()
    }
}

pub(super) fn group() -> Label {
    Label::new("orders")
}

/// The group's primary is to move to this region.
pub(super) fn switchover(to: &str, reason: &str) -> StartSwitchoverRequest {
    let name = "groups/orders".to_owned();
    StartSwitchoverRequest { name, to: to.to_owned(), reason: reason.to_owned(), ..StartSwitchoverRequest::default() }
}

pub(super) struct Play {
    pub(super) fleet: Fleet,
    pub(super) trio: Trio,
}

/// The address that names answer for a member: nobody listens there.
pub(super) fn published(region: &str) -> &'static str {
    match region {
        US => "198.51.100.10",
        EU => "198.51.100.20",
        _ => "198.51.100.30",
    }
}

/// A lease that is soon over.
pub(super) const SHORT: &str = "    lease: { ttl: 10s, margin: 2s }\n";

/// A plan with the group of these members. `of_group`: what else it says of the group, indented by four; `more`: what else it says.
pub(super) fn plan_of(trio: &Trio, of_group: &str, more: &str) -> Plan {
    let member = |member: &Member| {
        let region = &member.region;
        let (address, published) = (member.address(), published(region.as_str()));
        format!("      {region}: {{ address: \"{address}\", dsn: database, agent: pg-{region}, publish: {published} }}\n")
    };
    let members: String = trio.members.values().map(member).collect();
    let fence = if of_group.contains("    fence:") { "" } else { "    fence: [{ agent: stop }, { lease: expire }]\n" };
    let mut plan = Plan::three_regions();
    plan.more =
        format!("data_groups:\n  orders:\n    engine: postgresql\n    primary: {US}\n{fence}{of_group}    members:\n{members}{more}");
    plan
}

impl Play {
    async fn begin() -> Self {
        Self::with(&[], "", "").await
    }

    /// `of_group`: what else the plan says of the group, indented by four. `more`: what else it says, services that follow the group among it.
    pub(super) async fn with(observers: &[(&str, &str)], of_group: &str, more: &str) -> Self {
        let trio = Trio::new([AP, EU, US]);
        // A group on a scale has the plan's default times.
        let lease = if of_group.contains("time_scale") { "" } else { SHORT };
        let plan = plan_of(&trio, &format!("{lease}{of_group}"), more);
        Self::by(&plan, trio, observers).await
    }

    /// By a whole plan that has these members.
    pub(super) async fn by(plan: &Plan, trio: Trio, observers: &[(&str, &str)]) -> Self {
        Self::of(Fleet::new(plan, observers), trio).await
    }

    /// Of daemons that do not run yet, by a plan that has these members.
    pub(super) async fn of(mut fleet: Fleet, trio: Trio) -> Self {
        fleet.begin().await;
        let mut play = Self { fleet, trio };
        let voters = play.fleet.voters();
        for member in play.trio.members.values_mut() {
            member.write_config(&voters);
            member.supervise().await;
            member.start_process();
        }
        play
    }

    pub(super) fn member(&self, region: &str) -> &Member {
        &self.trio.members[&Label::new(region)]
    }

    /// It is the primary by a lease that has been renewed, and all others stream from it.
    pub(super) async fn is_served_by(&self, primary: &str) {
        self.fleet
            .agrees("the group has its primary", |state| {
                state.group(&group()).is_some_and(|group| {
                    group.operation.is_none() && group.in_force().is_some_and(|it| it.region.as_str() == primary && it.is_attested)
                })
            })
            .await;
        let streaming = "select coalesce(string_agg(application_name || ' ' || state, ', ' order by application_name), 'nobody') from pg_stat_replication";
        let wanted: Vec<String> =
            self.trio.members.keys().filter(|it| it.as_str() != primary).map(|it| format!("{it} streaming")).collect();
        let seen = async || self.member(primary).read::<String>(streaming).await;
        eventually("all others stream from it", seen, |seen| seen.as_deref() == Some(&wanted.join(", "))).await;
    }

    /// Looks at it again and again for so long.
    pub(super) async fn all_the_while(&self, lasting: Duration, mut look: impl AsyncFnMut(&Self)) {
        let until = clock() + lasting;
        while clock() < until {
            look(self).await;
            pause().await;
        }
    }

    /// No daemon knows of an operation, and us is served by the server that was started so often.
    pub(super) async fn is_left_alone(&self, starts: u64) {
        for bed in self.fleet.running() {
            let state = bed.daemon.agreed();
            let agreed = state.group(&group()).unwrap();
            assert!(agreed.operation.is_none() && agreed.latest.is_none(), "{}: {agreed:#?}", bed.files.setup.node);
        }
        let supervised = self.member(US).supervised().await.unwrap();
        assert!(supervised.process.is_some() && supervised.starts == starts, "{supervised:?}");
    }

    /// How often the server of us was started.
    pub(super) async fn starts(&self) -> u64 {
        self.member(US).supervised().await.unwrap().starts
    }

    /// Its lease was renewed for a whole lease from now on.
    pub(super) async fn is_renewed(&self, primary: &str) {
        let member = self.member(primary);
        let now = member.supervised().await.unwrap().kill_at.unwrap();
        given("the lease is renewed", async || member.supervised().await?.kill_at.filter(|at| *at > now + 10_000_000)).await;
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for bed in self.fleet.running() {
                println!("{:#?}", bed.daemon.agreed().group(&group()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_adopted_and_served_whichever_voter_or_agent_is_lost() {
    let mut play = Play::begin().await;
    play.is_served_by(US).await;
    let began = "select pg_postmaster_start_time()::text";
    let first: String = play.member(US).read(began).await.unwrap();
    for voter in 0..3 {
        play.fleet.kill(voter);
        play.is_renewed(US).await;
        play.fleet.start(voter).await;
    }
    let us = play.trio.members.get_mut(&Label::new(US)).unwrap();
    us.kill_process();
    us.start_process();
    play.is_renewed(US).await;
    assert_eq!(play.member(US).read::<String>(began).await, Some(first), "the same server, all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_switched_over_by_a_person() {
    let play = Play::begin().await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key); insert into ledger select generate_series(1, 100)").await.unwrap();
    let node = play.fleet.running().next().unwrap().client().await;
    let shown = node.list_groups(ListGroupsRequest {}).await.unwrap().groups;
    let agents: Vec<bool> = shown[0].members.iter().map(|member| member.agent.is_some()).collect();
    assert_eq!((shown[0].primary.as_str(), shown[0].class.as_str(), agents), (US, "armed", vec![true; 3]));
    let wanted = StartSwitchoverRequest { expected_token: shown[0].token.clone(), ..switchover(EU, "kernel update") };
    let begun = node.start_switchover(wanted.clone()).await.unwrap().group.unwrap();
    assert_eq!(begun.operation.unwrap().kind, "switchover");
    play.is_served_by(EU).await;
    assert_eq!(play.member(EU).read("select count(*) from ledger").await, Some(100_i64));
    let late = node.start_switchover(StartSwitchoverRequest { to: AP.to_owned(), ..wanted }).await.unwrap_err();
    assert!(late.to_string().contains("TOKEN_MISMATCH"), "{late}");
}

/// When a client was told that a write is kept, in order.
type Acknowledged = Arc<Mutex<Vec<u64>>>;

/// Writes as a client does.
async fn write(address: String, acknowledged: Acknowledged) {
    loop {
        let (host, port) = address.split_once(':').unwrap();
        let config = format!("host={host} port={port} user=postgres dbname=postgres connect_timeout=1");
        if let Ok((client, connection)) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await {
            let connection = tokio::spawn(connection);
            while client.execute("insert into ledger select coalesce(max(id), 0) + 1 from ledger", &[]).await.is_ok() {
                acknowledged.lock().unwrap().push(clock().0);
            }
            connection.abort();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_the_deadline_whatever_is_killed_or_stopped() {
    use Beside::{Agent, Database, Supervisor};
    use Signal::{SIGCONT, SIGKILL, SIGSTOP};
    let mut play = Play::begin().await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key)").await.unwrap();
    drop(client);
    let acknowledged = Acknowledged::default();
    let writer = tokio::spawn(write(play.member(US).address(), acknowledged.clone()));
    let last = || acknowledged.lock().unwrap().last().copied().unwrap_or_default();
    let scenes: [(&[Beside], Signal); 7] = [
        (&[Agent], SIGSTOP),
        (&[Supervisor], SIGSTOP),
        (&[Agent, Supervisor], SIGSTOP),
        (&[Database], SIGKILL),
        (&[Agent], SIGKILL),
        (&[Supervisor], SIGKILL),
        (&[Agent, Supervisor], SIGKILL),
    ];
    for (whom, signal) in scenes {
        let since = clock().0;
        given("writes are acknowledged", async || (last() > since).then_some(())).await;
        let member = play.member(US);
        let main = PathBuf::from(format!("/proc/{}", member.main_process()));
        // Right after a renewal, so that no other one comes between the look and the signal.
        let before = member.supervised().await.unwrap().over_at;
        let renewed = async || member.supervised().await?.over_at.filter(|at| Some(*at) != before);
        let over_at = given("the lease is renewed", renewed).await;
        let signalled = clock().0;
        for one in whom {
            member.signal(*one, signal);
        }
        given("the server that ran is gone", async || (!main.exists()).then_some(())).await;
        let gone = clock().0;
        assert!(gone < over_at, "{whom:?} {signal}: gone {} us after the deadline", gone.saturating_sub(over_at));
        // A stopped agent or supervisor does not keep clients from writing until then.
        assert!(signal == SIGKILL || last() > signalled, "{whom:?} {signal}: {}, signalled at {signalled}", last());
        // A database that died alone is brought up again by its agent, which has the lease. Else nobody is there to do so, and nothing of the
        // server that was left behind answers.
        if whom != [Database] {
            given("the deadline is past", async || (clock().0 > over_at + 2_000_000).then_some(())).await;
            assert!(last() < over_at, "{whom:?} {signal}: acknowledged {} us after the deadline", last() - over_at);
        }
        let member = play.trio.members.get_mut(&Label::new(US)).unwrap();
        if signal == SIGSTOP {
            for one in whom {
                member.signal(*one, SIGCONT);
            }
        }
        if signal == SIGKILL && whom.contains(&Supervisor) {
            member.bury_supervisor();
            member.supervise().await;
        }
        if signal == SIGKILL && whom.contains(&Agent) {
            member.kill_process();
            member.start_process();
        }
        play.is_served_by(US).await;
    }
    // With the postmaster stopped, its children serve those that are connected: under a lease that is renewed, or not at all.
    let since = clock().0;
    given("writes are acknowledged", async || (last() > since).then_some(())).await;
    let member = play.member(US);
    member.signal(Database, SIGSTOP);
    let stopped = clock().0;
    let mut over_at = 0;
    let look = async || {
        over_at = member.supervised().await.and_then(|state| state.over_at).unwrap_or_default().max(over_at);
        assert!(last() <= over_at, "acknowledged {} us after the deadline", last() - over_at);
        (clock().0 > stopped + 12_000_000).then_some(())
    };
    given("more than a lease has passed", look).await;
    member.signal(Database, SIGCONT);
    play.is_served_by(US).await;
    writer.abort();
}
