//! A primary is lost, and nobody is awake: daemons, agents as processes of their own, and real databases.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portolan::{
    api::proto::{ApproveOperationRequest, DeleteOverrideRequest, GetOutlookRequest, GetReportRequest, Outlook, StartFailoverRequest},
    client::ClientError,
};
use portolan_core::{
    cluster::State,
    failover::{
        evidence::Evidence,
        grounds::Attestation,
        group::{Closed, Deed, Ending, HeldFor, Origin, Phase},
    },
    model::{
        ids::Label,
        time::{Tick, Timestamp},
    },
};

use super::{
    groups::{Play, group, hold, plan_of, published},
    plan::*,
    *,
};
use crate::agent::postgres::{Beside, Member, Trio, clock};

/// The plan's own words, and rounds of a second.
pub(super) const QUICKLY: &str =
    "    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n";
pub(super) const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n  recovery_procedures: { data_recovery: { primary_source: continuous_replication, \
    validation_steps: [verify_data_integrity, test_agent_functionality, ledger_is_there] } }\n\
    validation:\n  ledger_is_there: { sql: \"select count(*) > 0 from ledger\" }\n";

/// What a client was told: the last write that is kept, and when that was said of each, by the clock of this machine and by its calendar.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) last: AtomicU64,
    acknowledged: Mutex<Vec<(Tick, Timestamp)>>,
}

impl Ledger {
    /// When it was told that a write is kept. They are numbered from one.
    fn told(&self, id: u64) -> (Tick, Timestamp) {
        self.acknowledged.lock().unwrap()[usize::try_from(id).unwrap() - 1]
    }
}

/// Writes one number after the other, at one place, until that is gone.
pub(super) async fn write(play: &Play, region: &str, ledger: Arc<Ledger>) -> tokio::task::JoinHandle<()> {
    let client = play.member(region).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key, at timestamptz default clock_timestamp())").await.unwrap();
    tokio::spawn(async move {
        for id in 1..i64::MAX {
            if client.execute("insert into ledger (id) values ($1)", &[&id]).await.is_err() {
                return;
            }
            ledger.acknowledged.lock().unwrap().push((clock(), wall()));
            ledger.last.store(u64::try_from(id).unwrap(), SeqCst);
        }
    })
}

pub(super) fn ended(state: &State) -> Option<&Closed> {
    state.group(&group())?.latest.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_is_replaced_by_itself_and_the_record_says_why() {
    let mut play = Play::with(&[], QUICKLY, RECOVERY).await;
    play.is_served_by(US).await;
    let node = play.fleet.running().next().unwrap().client().await;
    let request = GetOutlookRequest { name: "groups/orders".to_owned() };
    let look = async || node.get_outlook(request.clone()).await.ok()?.outlook;
    // An agent asks the others' databases now and then: those that were not up yet the first time are asked again.
    let is_quiet =
        |it: &Outlook| it.findings.iter().all(|it| it.check != "replication") && it.findings.iter().any(|it| it.check == "slots");
    let is_well = |it: &Outlook| it.ready && it.evidence == "healthy" && is_quiet(it);
    let outlook = given("the group is ready", async || look().await.filter(is_well)).await;
    let exposed: Vec<&str> = outlook.exposures.iter().map(|it| it.standing.as_str()).collect();
    // Nobody knows yet how long it takes, no copy was ever shown to work, and nothing bounds what slots would keep.
    assert_eq!((outlook.score, exposed), (64, vec!["ok", "ok"]), "{outlook:#?}");
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    // What is written from now on is not shipped any more.
    let watched = Duration::from_secs(9);
    play.member(US).stop_shipping();
    let (cut, cut_at) = (ledger.last.load(SeqCst), clock());
    let mut gauge = Vec::new();
    given("some seconds of writes are not shipped", async || {
        let before = clock();
        let seen = look().await?;
        gauge.push((before, clock(), seen.exposures));
        (clock().since(cut_at) >= watched).then_some(())
    })
    .await;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    writer.await.unwrap();
    let lost_at = clock();
    let is_fenced = |state: &State| {
        let open = state.group(&group()).and_then(|it| it.operation.as_ref());
        ended(state).is_some() || open.is_some_and(|operation| operation.phase >= Phase::Fenced)
    };
    play.fleet.agrees("the primary is fenced", is_fenced).await;
    let fenced_at = clock();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    let operation = &closed.operation;
    assert_eq!((closed.ending, &operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    let grounds = operation.grounds.as_ref().unwrap();
    assert_eq!((grounds.evidence, grounds.rounds.len() >= 3), (Evidence::Isolated, true), "{grounds:#?}");
    let regions = [AP, EU].map(|region| (Label::new(region), Attestation::Failing));
    assert_eq!(grounds.attestations, regions.into(), "{grounds:#?}");
    let marks: Vec<String> = operation.marks.iter().map(|mark| format!("{}: {}", mark.phase, mark.text)).collect();
    println!("{marks:#?}");

    // What was lost is inside of what the record says.
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert!(primary != US);
    let kept = u64::try_from(play.member(&primary).read::<i64>("select coalesce(max(id), 0) from ledger").await.unwrap()).unwrap();
    let last = ledger.last.load(SeqCst);
    assert!(kept >= cut.min(last) - 50 && kept < last, "{kept} of {last} are kept, and nothing was shipped after {cut}");
    let loss = operation.chosen.as_ref().unwrap().loss;
    let ((kept_at, _), (first_at, first_wall), (last_at, _)) = (ledger.told(kept), ledger.told(kept + 1), ledger.told(last));
    let (truth, high) = (last_at.since(first_at), loss.high.unwrap());
    assert!(loss.low <= truth && truth <= high, "{loss}, and {truth:?} were lost");
    // A look each second, and the two before the first write that is surely lost; then the time in which nobody saw what it did.
    assert!(loss.low > Duration::ZERO && loss.low + Duration::from_secs(8) >= truth, "{loss}, and {truth:?} were lost");
    assert!(high <= fenced_at.since(first_at) + Duration::from_secs(4), "{loss}, fenced {:?} after the first", fenced_at.since(first_at));
    println!("lost {} writes of {truth:?}, {loss}; {:?} after the loss", last - kept, clock().since(lost_at));

    // What the new primary lacked was gauged all the while.
    let time = |time: Option<prost_types::Duration>| Duration::try_from(time.unwrap()).unwrap();
    let mut nearest = Duration::MAX;
    // By then it has told of all that it received.
    let told_at = first_at + Duration::from_secs(3);
    for (before, after, exposures) in gauge.into_iter().filter(|(before, ..)| *before > told_at) {
        let Some(gauged) = exposures.into_iter().find(|it| it.region == primary).and_then(|it| it.time) else { continue };
        let (low, high) = (time(gauged.low), time(gauged.high));
        assert!(
            low <= after.since(kept_at) && high >= before.since(first_at),
            "{low:?} to {high:?}, and it is {:?}",
            after.since(first_at)
        );
        let (middle, age) = ((low + high) / 2, before.since(first_at));
        nearest = nearest.min(middle.abs_diff(age));
    }
    assert!(nearest <= Duration::from_millis(1500), "the gauge is {nearest:?} beside the ledger at best");

    // The old primary comes back, twice: it never takes a write again, and what only it had is put aside.
    for is_lost_again in [true, false] {
        let us = play.trio.members.get_mut(&Label::new(US)).unwrap();
        us.supervise().await;
        us.start_process();
        play.is_served_by(&primary).await;
        assert_eq!(play.member(US).read::<bool>("select pg_is_in_recovery()").await, Some(true));
        if is_lost_again {
            play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
        }
    }
    let aside = u64::try_from(play.member(US).commits_put_aside()).unwrap();
    assert!(aside >= last - kept, "{aside} commits were put aside, and {} writes were lost", last - kept);

    // What was really lost stands in the record, as its agent told it: who has not told it when it is lost again does when it is back.
    play.fleet.agrees("it is noted", |state| ended(state).is_some_and(|closed| closed.aside.contains_key(&Label::new(US)))).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let noted = ended(&state).unwrap().aside[&Label::new(US)];
    let (first, end) = noted.span.unwrap();
    assert_eq!((noted.commits, noted.octets.is_some_and(|octets| octets > 0)), (Some(aside), true), "{noted}");
    assert!(first <= first_wall && end >= ledger.told(last - 1).1, "{noted}");
    let request = GetReportRequest { name: format!("operations/op-{}", operation.id), ..GetReportRequest::default() };
    let report = node.get_report(request).await.unwrap().text;
    assert!(report.contains(&format!("{US} had {noted} alone")), "{report}");
}

/// Milliseconds since 1970.
pub(super) fn wall() -> Timestamp {
    Timestamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_too_much_waits_for_a_person_and_leaves_the_primary_as_it_was() {
    let mut play = Play::with(&[], QUICKLY, &RECOVERY.replace("rpo_target: 1h", "rpo_target: 1s")).await;
    play.is_served_by(US).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    writer.await.unwrap();
    let proposed = |state: &State| state.group(&group()).and_then(|it| it.operation.clone()).filter(|it| it.phase == Phase::Proposed);
    play.fleet.agrees("a failover is proposed", |state| proposed(state).is_some()).await;
    let node = play.fleet.running().next().unwrap();
    let state = node.daemon.agreed();
    let (operation, agreed) = (proposed(&state).unwrap(), state.group(&group()).unwrap());
    let held = operation.held.as_ref().unwrap();
    assert_eq!(held.reason, HeldFor::Approval, "{held:?}");
    assert!(held.text.contains("would be lost, and 1s may be"), "{held:?}");
    assert!(agreed.in_force().is_some_and(|grant| grant.region.as_str() == US), "nothing was revoked");

    let approve = ApproveOperationRequest {
        name: format!("operations/op-{}", operation.id),
        allowed_loss: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        reason: "the region is gone".to_owned(),
        ..ApproveOperationRequest::default()
    };
    node.client().await.approve_operation(approve).await.unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let closed = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&closed).unwrap();
    assert_eq!((closed.ending, closed.operation.id), (Ending::Succeeded, operation.id), "{closed:#?}");
}

/// Probes, standbys and its agent say that it is gone, and it is not: what clients have of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_before_its_fence_leaves_a_primary_that_lives_and_its_answer_as_they_were() {
    const FOR: Duration = Duration::from_secs(5);
    let services =
        "services:\n  orders-write: { hostnames: [orders.gslb.example.net], follows: { group: orders, ttl: { min: 1s, max: 3s } } }\n";
    let recovery = RECOVERY.replace(", ledger_is_there", "").replace("rpo_target: 1h", "rpo_target: 1s");
    let trio = Trio::new([AP, EU, US]);
    let plan = plan_of(&trio, &format!("{QUICKLY}    lease: {{ ttl: 60s, margin: 6s }}\n"), &format!("{recovery}{services}"));
    let play = Play::by(&plan, trio, &[]).await;
    play.is_served_by(US).await;
    let answers_us = async || {
        for bed in play.fleet.running() {
            if bed.ask(Question::a("orders.gslb.example.net")).await.data != [published(US)] {
                return None;
            }
        }
        Some(())
    };
    given("the name leads to it everywhere", answers_us).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    // Its lease is a long one: the supervisor lets the database live while nobody hears of it, and no heartbeat is written.
    play.member(US).stop_shipping();
    play.member(US).signal(Beside::Agent, Signal::SIGSTOP);
    let proposed = |state: &State| state.group(&group()).and_then(|it| it.operation.clone()).filter(|it| it.phase == Phase::Proposed);
    play.fleet.agrees("a failover is proposed", |state| proposed(state).is_some()).await;
    let held = proposed(&play.fleet.running().next().unwrap().daemon.agreed()).unwrap();
    assert_eq!(held.held.as_ref().unwrap().reason, HeldFor::Approval, "{held:?}");
    assert_eq!(held.grounds.as_ref().unwrap().evidence, Evidence::Isolated, "{held:?}");

    let (since, mut seen) = (clock(), ledger.last.load(SeqCst));
    let stays = async || {
        answers_us().await.expect("a daemon answers something else while it is held");
        for bed in play.fleet.running() {
            let state = bed.daemon.agreed();
            let agreed = state.group(&group()).unwrap();
            assert!(agreed.in_force().is_some_and(|grant| grant.region.as_str() == US), "nothing was revoked: {agreed:#?}");
            assert!(proposed(&state).is_some_and(|it| it.id == held.id), "it is held: {agreed:#?}");
        }
        let last = ledger.last.load(SeqCst);
        assert!(!writer.is_finished(), "its writes were refused");
        let (grew, enough) = (last > seen, clock().since(since) >= FOR);
        seen = last;
        (grew && enough).then_some(())
    };
    given("writes go on, and the answer stays", stays).await;

    // Whatever stood still goes on, and so does the group, by itself.
    play.member(US).signal_all(Signal::SIGCONT);
    play.member(US).signal(Beside::Agent, Signal::SIGCONT);
    play.fleet.agrees("it is not proposed any more", |state| ended(state).is_some_and(|it| it.ending == Ending::Rejected)).await;
    let goes_on = |state: &State| {
        let agreed = state.group(&group()).unwrap();
        agreed.operation.is_none() && agreed.in_force().is_some_and(|grant| grant.region.as_str() == US)
    };
    play.fleet.agrees("it leads", goes_on).await;
    assert!(!writer.is_finished(), "its writes were refused");
    writer.abort();
    let last = i64::try_from(ledger.last.load(SeqCst)).unwrap();
    assert!(play.member(US).read::<i64>("select max(id) from ledger").await.unwrap() >= last);
    assert_eq!(play.member(US).read::<i32>("select timeline_id from pg_control_checkpoint()").await, Some(1), "it is the same line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_keeps_a_failing_group_as_it_is_until_it_is_released() {
    let mut play = Play::with(&[], QUICKLY, &RECOVERY.replace(", ledger_is_there", "")).await;
    play.is_served_by(US).await;
    let node = play.fleet.running().next().unwrap().client().await;
    let hold = node.create_override(hold("storage is moved")).await.unwrap().r#override.unwrap();
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let lost_at = clock();
    let look = async || node.get_outlook(GetOutlookRequest { name: "groups/orders".to_owned() }).await.ok()?.outlook;
    // Long after it would have been decided: rounds, silence and hold are over within 15 seconds.
    let outlook = given("it is held, and has failed long enough", async || {
        look().await.filter(|it| it.evidence == "isolated" && clock().since(lost_at) > Duration::from_secs(22))
    })
    .await;
    assert!(!outlook.ready, "{outlook:#?}");
    for bed in play.fleet.running() {
        let state = bed.daemon.agreed();
        let agreed = state.group(&group()).unwrap();
        assert!(agreed.operation.is_none() && agreed.latest.is_none(), "{agreed:#?}");
    }
    let release = DeleteOverrideRequest { name: hold.name, reason: "done".to_owned(), ..DeleteOverrideRequest::default() };
    node.delete_override(release).await.unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some_and(|it| it.ending == Ending::Succeeded)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_comes_back_where_it_stood() {
    let play = Play::with(&[], &QUICKLY.replace("local_recovery: 2s", "local_recovery: 30s"), RECOVERY).await;
    play.is_served_by(US).await;
    let history = "select timeline_id from pg_control_checkpoint()";
    assert_eq!(play.member(US).read::<i32>(history).await, Some(1));
    let began = "select pg_postmaster_start_time()::text";
    let first = play.member(US).read::<String>(began).await;
    play.member(US).signal(Beside::Database, Signal::SIGKILL);
    given("another server serves", async || play.member(US).read::<String>(began).await.filter(|it| first.as_ref() != Some(it))).await;
    play.is_served_by(US).await;
    assert_eq!(play.member(US).read::<i32>(history).await, Some(1), "it is the same line");
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    assert!(ended(&state).is_none(), "nothing was failed over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_and_cannot_start_again_is_replaced_once() {
    // All clocks of the group on one scale: rounds of 1.2 s, a hold of 4.8 s, a lease of 7.2 s.
    let scaled = "    automatic_failover: true\n    local_recovery: 0s\n    time_scale: 8%\n";
    let play = Play::with(&[], scaled, RECOVERY).await;
    play.is_served_by(US).await;
    play.member(US).keep(1..=10, |_| ()).await;
    // From now on its server does not start.
    let settings = play.member(US).set_aside("data/postgresql.conf");
    play.member(US).signal(Beside::Database, Signal::SIGKILL);
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, &closed.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert!(primary != US, "{closed:#?}");
    // The host was never away: the old primary follows by itself when it can.
    settings.put_back();
    play.is_served_by(&primary).await;
    let timeline = "select timeline_id from pg_control_checkpoint()";
    assert_eq!(play.member(&primary).read::<i32>(timeline).await, Some(2), "exactly one new timeline");
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    assert!(state.group(&group()).unwrap().earlier.is_empty(), "one operation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_replaced_and_acknowledges_nothing_when_it_wakes() {
    let play = Play::with(&[], QUICKLY, RECOVERY).await;
    play.is_served_by(US).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    let main = play.member(US).main_process();
    // Main process and all that it started: whoever is connected hangs, too.
    play.member(US).signal_all(Signal::SIGSTOP);
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!(closed.ending, Ending::Succeeded, "{closed:#?}");
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert!(primary != US, "{closed:#?}");
    assert!(!Path::new(&format!("/proc/{main}")).exists(), "it was killed before another one took over");
    let last = ledger.last.load(SeqCst);
    writer.await.unwrap();
    assert_eq!(ledger.last.load(SeqCst), last, "it acknowledged something after another one had taken over");
    play.is_served_by(&primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_quorum_mode_whoever_may_have_the_last_write_is_waited_for_and_none_is_lost() {
    let of_group = format!("{QUICKLY}    durability: remote_quorum\n");
    let mut play = Play::with(&[], &of_group, RECOVERY).await;
    play.is_served_by(US).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    // Of any write only one of the two standbys need have it: with one of them gone nobody knows which.
    for region in [AP, US] {
        play.trio.members.get_mut(&Label::new(region)).unwrap().lose();
    }
    writer.await.unwrap();
    let open = |state: &State| state.group(&group()).and_then(|it| it.operation.clone());
    play.fleet.agrees("the primary is fenced", |state| open(state).is_some_and(|it| it.phase >= Phase::Fenced)).await;
    let is_unseen = |state: &State| open(state).and_then(|it| it.held).is_some_and(|held| held.reason == HeldFor::QuorumUnseen);
    play.fleet.agrees("the operation waits for the other standby", is_unseen).await;
    let ap = play.trio.members.get_mut(&Label::new(AP)).unwrap();
    ap.supervise().await;
    ap.start_process();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!(closed.ending, Ending::Succeeded, "{closed:#?}");
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    let kept = play.member(&primary).read::<i64>("select max(id) from ledger").await.unwrap();
    let last = ledger.last.load(SeqCst);
    assert!(u64::try_from(kept).unwrap() >= last, "{kept} is the last that is kept, and {last} was acknowledged");
}

/// The one that the plan prefers receives nothing any more, and the other one acknowledges every write: that one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_ahead_is_promoted_before_a_nearer_one_that_lags_and_the_record_says_why() {
    let trio = Trio::new([AP, EU, US]);
    let scaled = "    automatic_failover: true\n    local_recovery: 0s\n    durability: remote_quorum\n    time_scale: 8%\n";
    let mut plan = plan_of(&trio, scaled, RECOVERY);
    plan.more = plan.more.replace(&format!("agent: pg-{AP}"), &format!("priority: 1, agent: pg-{AP}"));
    let mut play = Play::by(&plan, trio, &[]).await;
    play.is_served_by(US).await;
    let preferred = play.fleet.running().next().unwrap().daemon.agreed().plan().unwrap().plan.outline.groups[&group()].members.clone();
    assert!(preferred[&Label::new(AP)].priority < preferred[&Label::new(EU)].priority, "{preferred:?}");
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    let far_end = format!("select client_port from pg_stat_replication where application_name = '{AP}'");
    let far_end: i32 = play.member(US).read(&far_end).await.unwrap();
    let [ships] = play.member(US).processes(&format!("walsender postgres 127.0.0.1({far_end})"))[..] else { panic!("who ships to {AP}?") };
    kill(ships, Signal::SIGSTOP).unwrap();
    let held_at = ledger.last.load(SeqCst);
    given("many more are", async || (ledger.last.load(SeqCst) > held_at + 500).then_some(())).await;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    writer.await.unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, &closed.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    assert_eq!(state.group(&group()).unwrap().primary().unwrap().as_str(), EU, "{closed:#?}");
    let kept = play.member(EU).read::<i64>("select max(id) from ledger").await.unwrap();
    let last = ledger.last.load(SeqCst);
    assert!(u64::try_from(kept).unwrap() >= last, "{kept} is the last that is kept, and {last} was acknowledged");

    // What each had is in the record, and in the report that people read.
    let sealed = |region: &str| closed.operation.sealed[&Label::new(region)].position;
    assert!(sealed(EU) > sealed(AP), "{closed:#?}");
    let node = play.fleet.running().next().unwrap().client().await;
    let request = GetReportRequest { name: format!("operations/op-{}", closed.operation.id), ..GetReportRequest::default() };
    let report = node.get_report(request).await.unwrap().text;
    for region in [AP, EU] {
        assert!(report.contains(&format!("sealed {region} at {}", sealed(region))), "{report}");
    }
    assert!(report.contains(&format!("choose {EU} at {}", sealed(EU))), "{report}");
    // Whoever lagged goes on from there.
    let all = async || play.member(AP).read::<i64>("select max(id) from ledger").await.filter(|it| *it == kept);
    given("it has what the new primary has", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_disk_is_full_is_replaced_and_nothing_that_it_acknowledged_is_lost() {
    let of_group = format!("{QUICKLY}    durability: remote_quorum\n");
    let play = Play::with(&[], &of_group, RECOVERY).await;
    play.is_served_by(US).await;
    let ledger = Arc::new(Ledger::default());
    let writer = write(&play, US, Arc::clone(&ledger)).await;
    given("writes are acknowledged", async || (ledger.last.load(SeqCst) > 100).then_some(())).await;
    // A segment has sixteen MiB: those that are there are written to their ends, and no other one is made.
    play.member(US).fill_disk(15 << 20);
    let other = play.member(US).connect().await.unwrap();
    let switches = async || {
        let went = other.batch_execute("select pg_switch_wal()").await;
        (went.is_err() || writer.is_finished()).then_some(())
    };
    given("its log has no room", switches).await;
    writer.await.unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, &closed.operation.origin), (Ending::Succeeded, &Origin::Automatic), "{closed:#?}");
    let evidence = closed.operation.grounds.as_ref().unwrap().evidence;
    assert_eq!(evidence, Evidence::Dead, "its agent lives and says so");
    let primary = state.group(&group()).unwrap().primary().unwrap().to_string();
    assert_ne!(primary, US);
    let kept = play.member(&primary).read::<i64>("select max(id) from ledger").await.unwrap();
    let last = ledger.last.load(SeqCst);
    assert!(u64::try_from(kept).unwrap() >= last, "{kept} is the last that is kept, and {last} was acknowledged");
}

/// Of any write only one of the two standbys need have it. With one of them gone for good a person says how much may be lost, and until then nothing
/// moves: not back either, to a primary whose own agent says that its database does not come up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_group_that_lost_two_for_good_goes_on_when_a_person_allows_a_loss_and_not_back_to_the_dead() {
    let scaled = "    automatic_failover: true\n    local_recovery: 0s\n    durability: remote_quorum\n    time_scale: 8%\n";
    let mut play = Play::with(&[], scaled, RECOVERY).await;
    play.is_served_by(US).await;
    play.member(US).keep(1..=10, |_| ()).await;
    play.trio.members.get_mut(&Label::new(AP)).unwrap().lose();
    let settings = play.member(US).set_aside("data/postgresql.conf");
    play.member(US).signal(Beside::Database, Signal::SIGKILL);
    let open = |state: &State| state.group(&group()).and_then(|it| it.operation.clone());
    let is_unseen = |state: &State| open(state).and_then(|it| it.held).is_some_and(|held| held.reason == HeldFor::QuorumUnseen);
    play.fleet.agrees("the operation waits for the other standby", is_unseen).await;
    let node = play.fleet.running().next().unwrap();
    let operation = open(&node.daemon.agreed()).unwrap();
    assert_eq!(operation.grounds.as_ref().unwrap().evidence, Evidence::Dead, "{operation:#?}");

    // On these clocks what is held goes back to a primary that could serve after three seconds.
    let since = clock();
    given("it was held for long", async || (clock().since(since) >= Duration::from_secs(9)).then_some(())).await;
    let now = open(&node.daemon.agreed()).unwrap();
    assert_eq!((now.id, now.phase, is_unseen(&node.daemon.agreed())), (operation.id, Phase::Fenced, true), "{now:#?}");

    let client = node.client().await;
    let approve = |seconds: Option<i64>| ApproveOperationRequest {
        name: format!("operations/op-{}", operation.id),
        allowed_loss: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        reason: "ap burnt down".to_owned(),
        ..ApproveOperationRequest::default()
    };
    match client.approve_operation(approve(None)).await {
        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.reason, "RPO_GATE", "{refusal:?}"),
        other => panic!("nobody allowed a loss: {other:?}"),
    }
    client.approve_operation(approve(Some(3600))).await.unwrap();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = node.daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!((closed.ending, closed.operation.id), (Ending::Succeeded, operation.id), "{closed:#?}");
    assert_eq!(state.group(&group()).unwrap().primary().unwrap().as_str(), EU);
    // It has a quorum again with the first that follows it.
    settings.put_back();
    play.fleet.agrees("us follows", |state| !state.group(&group()).unwrap().absent.contains(&Label::new(US))).await;
    play.member(EU).keep(11..=20, |_| ()).await;
}

/// Its agent is dead, and its database is not: that is what a person does not see who answers for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_for_a_primary_that_probes_get_into() {
    let play = Play::with(&[], "    automatic_failover: false\n    time_scale: 8%\n", &RECOVERY.replace(", ledger_is_there", "")).await;
    play.is_served_by(US).await;
    let client = play.fleet.running().next().unwrap().client().await;
    let asserted = StartFailoverRequest {
        name: "groups/orders".to_owned(),
        allowed_loss: Some(prost_types::Duration { seconds: 365 * 86_400, nanos: 0 }),
        assert_fenced: US.to_owned(),
        reason: "it does not answer me".to_owned(),
        ..StartFailoverRequest::default()
    };
    let refusal = async || match client.start_failover(asserted.clone()).await {
        Err(ClientError::Refused(refusal)) => Some(refusal),
        other => panic!("{other:?}"),
    };
    play.member(US).signal(Beside::Agent, Signal::SIGKILL);
    let refused = refusal().await.unwrap();
    assert_eq!(refused.reason, "STILL_ACCEPTS", "{refused:?}");
    // It ends with its lease, and a whole lease after that nobody got in.
    let ended_at = given("its supervisor stopped it", async || play.member(US).connect().await.is_err().then(clock)).await;
    let taken = async || match client.start_failover(asserted.clone()).await {
        Ok(_) => Some(clock()),
        Err(ClientError::Refused(refusal)) => {
            assert!(matches!(refusal.reason.as_str(), "STILL_ACCEPTS" | "STILL_WRITES" | "RATE_LIMITED"), "{refusal:?}");
            None
        }
        Err(other) => panic!("{other:?}"),
    };
    let taken_at = given("the assertion is taken", taken).await;
    assert!(taken_at.since(ended_at) > Duration::from_secs(5), "{:?} after its end", taken_at.since(ended_at));
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let closed = ended(&state).unwrap();
    assert_eq!(
        (closed.ending, closed.operation.acts.first().map(|act| act.deed)),
        (Ending::Succeeded, Some(Deed::Asserted)),
        "{closed:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_by_hand_has_automation_rest_and_is_told_of() {
    let play = Play::with(&[], QUICKLY, RECOVERY).await;
    play.is_served_by(US).await;
    play.member(EU).promote_by_hand().await;
    let request = GetOutlookRequest { name: "groups/orders".to_owned() };
    for bed in play.fleet.running() {
        let client = bed.client().await;
        let told = async || {
            let outlook = client.get_outlook(request.clone()).await.ok()?.outlook?;
            let found = outlook.findings.iter().find(|it| it.text.contains(&format!("two_writers: {EU} and {US} both took writes")))?;
            (!outlook.ready && found.grade == "fail").then_some(())
        };
        given("every voter says so", told).await;
    }
    play.is_served_by(US).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    assert!(ended(&state).is_none(), "and nothing moved");
}

/// Its startup process, of a standby that waits for more of the log and gets nothing, is stopped: recovery does not end before it goes on.
async fn hold_up_recovery(member: &Member) -> Pid {
    let [process] = member.processes("startup")[..] else { panic!("{} does not recover", member.region) };
    let waits = "select not exists (select from pg_stat_wal_receiver) and wait_event in ('RecoveryRetrieveRetryInterval', \
        'RecoveryWalStream') from pg_stat_activity where backend_type = 'startup'";
    given("it is stopped where it waits", async || {
        kill(process, Signal::SIGSTOP).unwrap();
        let is_idle = member.read::<bool>(waits).await.unwrap_or(false);
        if !is_idle {
            kill(process, Signal::SIGCONT).unwrap();
        }
        is_idle.then_some(())
    })
    .await;
    process
}

/// Whether it was promoted its agent never heard: the next one looks, and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_whose_answer_is_lost_is_seen_and_not_made_again() {
    let mut play = Play::with(&[], QUICKLY, RECOVERY).await;
    play.is_served_by(US).await;
    let client = play.member(US).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key); insert into ledger select generate_series(1, 100)").await.unwrap();
    let rows = "select count(*) from ledger";
    for region in [AP, EU] {
        given("it has everything", async || play.member(region).read::<i64>(rows).await.filter(|rows| *rows == 100)).await;
    }
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let held = [(AP, hold_up_recovery(play.member(AP)).await), (EU, hold_up_recovery(play.member(EU)).await)];
    let asked = "select count(*) from pg_stat_activity where query like '%pg_promote(%' and wait_event = 'Promote'";
    let is_asked = async |region: &str| play.member(region).read::<i64>(asked).await == Some(1);
    let primary = given("one is asked to promote itself", async || {
        if is_asked(AP).await {
            return Some(AP);
        }
        is_asked(EU).await.then_some(EU)
    })
    .await;
    let chosen = play.trio.members.get_mut(&Label::new(primary)).unwrap();
    chosen.kill_process();
    assert!(!chosen.log("agent").contains("done: Promote"), "its answer came before its agent was killed");
    for (_, process) in held {
        kill(process, Signal::SIGCONT).unwrap();
    }
    given("it is promoted, and nobody has heard of it", async || {
        play.member(primary).read::<bool>("select pg_is_in_recovery()").await.filter(|is_standby| !is_standby)
    })
    .await;
    play.trio.members.get_mut(&Label::new(primary)).unwrap().start_process();
    play.fleet.agrees("the group was failed over", |state| ended(state).is_some()).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let (closed, group) = (ended(&state).unwrap(), state.group(&group()).unwrap());
    assert_eq!((closed.ending, group.primary().unwrap().as_str(), group.forks.len()), (Ending::Succeeded, primary, 1), "{closed:#?}");
    let member = play.member(primary);
    let files = "select count(*) from pg_ls_waldir() where name like '%.history'";
    assert_eq!(member.read::<i64>(files).await, Some(1), "one timeline was made");
    assert_eq!(member.read::<i64>(rows).await, Some(100));
    let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
    given("the other one follows", async || member.read::<i64>(streaming).await.filter(|n| *n == 1)).await;
}
