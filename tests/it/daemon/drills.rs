//! Drills with real databases: a firewall before each member that a program of the plan tells to cut it off, and what that is worth before and after
//! a drill has shown it; a switchover there and back; what begins by itself.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use portolan::api::proto::{
    CreateDrillScheduleRequest, CreateFreezeRequest, Drill, DrillAim, Freeze, GetDrillRequest, GetOutlookRequest, GetReportRequest,
    ListBackupsRequest, ListDrillsRequest, Scope, StartDrillRequest,
    freeze::Expiration,
    scope::{self, Everything},
};
use portolan_core::{
    cluster::State,
    failover::group::{Ending, Fence, HeldFor, Origin, Phase},
    model::ids::Label,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, copy_bidirectional},
    net::TcpListener,
    sync::watch,
};

use super::{
    groups::{Play, group, plan_of},
    plan::*,
    *,
};
use crate::agent::postgres::Trio;

/// No rung but the agent's word and the program's: the end of the lease does not count.
const GROUP: &str = "    lease: { ttl: 10s, margin: 2s }\n    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    \
    confirm_hold: 2s\n    local_recovery: 2s\n    \
    fence: [{ agent: stop }, { hook: cut, unfence: uncut, confirms: true, timeout: 5s }]\n";
const RECOVERY: &str = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  failover_automation: { automatic_failover: true, \
    health_check_failures: 3, failure_window: 5m }\n";

/// What a gate keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    Nothing,
    /// Whoever is in stays in.
    NewOnes,
    Everything,
}

/// A firewall before each member, which programs tell what to do.
struct Firewall {
    /// Where it takes orders.
    address: SocketAddr,
    /// By region: where the gate is.
    gates: BTreeMap<String, SocketAddr>,
    /// What it keeps out when it is told to cut.
    cuts: Arc<Mutex<Closed>>,
    /// What it was told.
    told: Arc<Mutex<Vec<String>>>,
}

impl Firewall {
    async fn before(trio: &Trio) -> Self {
        let (mut gates, mut ways) = (BTreeMap::new(), BTreeMap::new());
        for (region, member) in &trio.members {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            gates.insert(region.to_string(), listener.local_addr().unwrap());
            let closed = watch::Sender::new(Closed::Nothing);
            tokio::spawn(carry(listener, member.address(), closed.subscribe()));
            ways.insert(region.to_string(), closed);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, told) = (Arc::new(Mutex::new(Closed::Everything)), Arc::<Mutex<Vec<String>>>::default());
        tokio::spawn(obey(listener, ways, Arc::clone(&cuts), Arc::clone(&told)));
        Self { address, gates, cuts, told }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The program of this name, which hands on what it is called with.
    fn put(&self, play: &Play, name: &str) {
        let script = format!(
            "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{}\necho \"$PORTOLAN_VERB $PORTOLAN_REGION $PORTOLAN_TOKEN\" >&3\nread -r said <&3\n\
             echo \"$said\"\ntest \"$said\" = yes\n",
            self.address.port()
        );
        for bed in play.fleet.running() {
            let path = bed.files.setup.hooks_dir.as_ref().unwrap().join(name);
            std::fs::write(&path, &script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

async fn carry(listener: TcpListener, to: String, closed: watch::Receiver<Closed>) {
    while let Ok((mut near, _)) = listener.accept().await {
        if *closed.borrow() != Closed::Nothing {
            continue;
        }
        let (to, mut closed) = (to.clone(), closed.clone());
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(&to).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = closed.wait_for(|closed| *closed == Closed::Everything) => {}
            }
        });
    }
}

/// Takes orders, and none with a token below the highest that it has seen of a member.
async fn obey(
    listener: TcpListener,
    ways: BTreeMap<String, watch::Sender<Closed>>,
    cuts: Arc<Mutex<Closed>>,
    told: Arc<Mutex<Vec<String>>>,
) {
    let mut highest: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let (reader, mut writer) = stream.split();
        let mut line = String::new();
        // Who hangs up has said nothing.
        let _ = BufReader::new(reader).read_line(&mut line).await;
        let [verb, region, token] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let (generation, epoch) = token.split_once('.').unwrap();
        let token = (generation.parse().unwrap(), epoch.parse().unwrap());
        let known = highest.entry(region.to_owned()).or_default();
        let is_new = if verb == "fence" { token >= *known } else { token > *known };
        if is_new {
            *known = token;
            let closed = if verb == "fence" { *cuts.lock().unwrap_or_else(PoisonError::into_inner) } else { Closed::Nothing };
            ways[region].send_replace(closed);
        }
        told.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{verb} {region}"));
        let _ = writer.write_all(if is_new { b"yes\n" } else { b"no, that token is old\n" }).await;
    }
}

fn aim(kind: &str, region: &str) -> Option<DrillAim> {
    Some(DrillAim { kind: kind.to_owned(), region: region.to_owned(), ..DrillAim::default() })
}

async fn start(client: &Client, aim: Option<DrillAim>) -> Drill {
    let request =
        StartDrillRequest { parent: "groups/orders".to_owned(), aim, reason: "quarterly".to_owned(), ..StartDrillRequest::default() };
    client.start_drill(request).await.unwrap().drill.unwrap()
}

/// The drill when it has ended: that takes as long as what it shows.
async fn ended(client: &Client, begun: &Drill) -> Drill {
    let start = Instant::now();
    loop {
        let drill = client.get_drill(GetDrillRequest { name: begun.name.clone() }).await.unwrap().drill.unwrap();
        if drill.end_time.is_some() {
            return drill;
        }
        assert!(start.elapsed() < 3 * LIMIT, "{} does not end", begun.name);
        pause().await;
    }
}

async fn is_ready(client: &Client) {
    let request = GetOutlookRequest { name: "groups/orders".to_owned() };
    given("the group is ready", async || client.get_outlook(request.clone()).await.ok()?.outlook.filter(|outlook| outlook.ready)).await;
}

async fn report(client: &Client, drill: &Drill) -> String {
    client.get_report(GetReportRequest { name: drill.name.clone(), ..GetReportRequest::default() }).await.unwrap().text
}

fn has(drill: &Drill, text: &str) -> bool {
    drill.lines.iter().any(|line| line.contains(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_counts_when_a_drill_has_shown_it_and_whom_it_cut_off_is_let_in_again() {
    let trio = Trio::new([AP, EU, US]);
    let firewall = Firewall::before(&trio).await;
    let mut plan = plan_of(&trio, GROUP, RECOVERY);
    for (region, member) in &trio.members {
        plan.more = plan.more.replace(&member.address(), &firewall.gates[region.as_str()].to_string());
    }
    let mut play = Play::by(&plan, trio, &[]).await;
    firewall.put(&play, "cut");
    firewall.put(&play, "uncut");
    play.is_served_by(US).await;

    // Nothing proves that a silent primary is stopped: a person is asked, and nothing is cut.
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let is_held = |state: &State| {
        let open = state.group(&group()).and_then(|group| group.operation.as_ref());
        open.is_some_and(|it| {
            it.phase == Phase::Proposed
                && it.held.as_ref().is_some_and(|held| held.reason == HeldFor::Approval && held.text.contains("would confirm"))
        })
    };
    play.fleet.agrees("the failover waits for a person", is_held).await;
    assert_eq!(firewall.told(), Vec::<String>::new());
    let us = play.trio.members.get_mut(&Label::new(US)).unwrap();
    us.supervise().await;
    us.start_process();
    play.is_served_by(US).await;
    play.fleet.agrees("all follow", |state| state.group(&group()).unwrap().absent.is_empty()).await;

    // A firewall that lets established connections live is no fence.
    let client = play.fleet.running().next().unwrap().client().await;
    *firewall.cuts.lock().unwrap() = Closed::NewOnes;
    let half = ended(&client, &start(&client, aim("fence", EU)).await).await;
    assert_eq!((half.outcome.as_str(), has(&half, "established connections are not cut")), ("failed", true), "{half:#?}");
    *firewall.cuts.lock().unwrap() = Closed::Everything;
    let whole = ended(&client, &start(&client, aim("fence", EU)).await).await;
    assert_eq!(whole.outcome, "passed", "{whole:#?}");
    for text in ["the session that stood before was cut", "no new session from", "nobody got in for", "is reached again"] {
        assert!(has(&whole, text), "{text} in {whole:#?}");
    }
    let proofs = client.list_drills(ListDrillsRequest::default()).await.unwrap().proofs;
    let proven: Vec<(&str, &str)> = proofs.iter().map(|proof| (proof.hook.as_str(), proof.region.as_str())).collect();
    assert_eq!(proven, [("cut", EU)]);
    let [cut, lifted] = [format!("fence {EU}"), format!("unfence {EU}")];
    assert_eq!(firewall.told(), [cut.clone(), lifted.clone(), cut.clone(), lifted.clone()]);

    // Where it was shown, the same loss is dealt with.
    is_ready(&client).await;
    let there = start(&client, Some(DrillAim { stays: true, ..aim("switchover", EU).unwrap() })).await;
    let there = ended(&client, &there).await;
    assert_eq!((there.outcome.as_str(), there.operations.len()), ("passed", 1), "{there:#?}");
    play.is_served_by(EU).await;
    play.fleet.agrees("all follow", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    play.trio.members.get_mut(&Label::new(EU)).unwrap().lose();
    let is_over = |state: &State| {
        let latest = state.group(&group()).unwrap().latest.as_ref();
        latest.is_some_and(|it| it.operation.origin == Origin::Automatic && it.ending == Ending::Succeeded)
    };
    play.fleet.agrees("the group was failed over", is_over).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let agreed = state.group(&group()).unwrap();
    let closed = agreed.latest.as_ref().unwrap();
    assert_eq!(closed.operation.fence, Some(Fence::Confirmed { by: "cut".to_owned() }), "{closed:#?}");
    let cuts: Vec<(&str, bool)> = agreed.drills.cuts.iter().map(|cut| (cut.region.as_str(), cut.lift.is_some())).collect();
    assert_eq!(cuts, [(EU, false)], "it stays cut off while nobody knows what it is");
    let primary = agreed.primary().unwrap().to_string();
    assert_eq!(firewall.told()[4..], [cut]);

    // It comes back: stopped by its agent, let in by a higher token, and only then a standby.
    let eu = play.trio.members.get_mut(&Label::new(EU)).unwrap();
    eu.supervise().await;
    eu.start_process();
    play.is_served_by(&primary).await;
    play.fleet.agrees("it is let in", |state| state.group(&group()).unwrap().drills.cuts.is_empty()).await;
    assert_eq!(firewall.told()[5..], [lifted]);
    assert_eq!(play.member(EU).read::<bool>("select pg_is_in_recovery()").await, Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_is_drilled_there_and_back_and_what_is_due_begins_by_itself() {
    let quick = "    automatic_failover: true\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    local_recovery: 2s\n";
    let play = Play::with(&[], quick, RECOVERY).await;
    play.is_served_by(US).await;
    play.fleet.agrees("all follow", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    let client = play.fleet.running().next().unwrap().client().await;
    is_ready(&client).await;
    let moved = ended(&client, &start(&client, aim("switchover", EU)).await).await;
    assert_eq!((moved.outcome.as_str(), moved.operations.len(), moved.loss.as_str()), ("passed", 2, "0s"), "{moved:#?}");
    assert!(moved.recovery.is_some() && moved.stop.is_some(), "{moved:#?}");
    let report = report(&client, &moved).await;
    for text in
        ["# switchover of orders: drill-", "- **Loss**: 0s\n- **RPO target**: 1h\n- **Loss stands**: ok\n", "closed, succeeded", "| 2 |"]
    {
        assert!(report.contains(text), "{text}\n{report}");
    }
    play.is_served_by(US).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let origins: Vec<bool> =
        state.group(&group()).unwrap().ended().map(|closed| matches!(closed.operation.origin, Origin::Drill { .. })).collect();
    assert_eq!(origins, [true, true]);

    play.fleet.agrees("all follow", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    is_ready(&client).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(2);
    let scheduled = CreateDrillScheduleRequest {
        parent: "groups/orders".to_owned(),
        aim: aim("dry_run", ""),
        every: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        first_time: Some(prost_types::Timestamp { seconds: i64::try_from(now.as_secs()).unwrap(), nanos: 0 }),
        reason: "hourly".to_owned(),
        ..CreateDrillScheduleRequest::default()
    };
    client.create_drill_schedule(scheduled.clone()).await.unwrap();
    let by_itself = async |outcome: &str| {
        let drills = client.list_drills(ListDrillsRequest::default()).await.ok()?.drills;
        drills.into_iter().find(|drill| !drill.schedule.is_empty() && drill.outcome == outcome)
    };
    let rehearsed = given("what is due begins", async || by_itself("passed").await).await;
    assert!(has(&rehearsed, "a failover from"), "{rehearsed:#?}");

    // In a freeze nothing is drilled, and what is due is missed.
    let freeze = Freeze {
        scope: Some(Scope { scope: Some(scope::Scope::Everything(Everything {})) }),
        expiration: Some(Expiration::Ttl(prost_types::Duration { seconds: 600, nanos: 0 })),
        ..Freeze::default()
    };
    let frozen = CreateFreezeRequest { freeze: Some(freeze), reason: "peak".to_owned(), ..CreateFreezeRequest::default() };
    client.create_freeze(frozen).await.unwrap();
    let refused = StartDrillRequest {
        parent: "groups/orders".to_owned(),
        aim: aim("dry_run", ""),
        reason: "at once".to_owned(),
        ..StartDrillRequest::default()
    };
    let refused = client.start_drill(refused).await.unwrap_err().to_string();
    assert!(refused.contains("freeze"), "{refused}");
    client.create_drill_schedule(scheduled).await.unwrap_err();
    let soon = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(2);
    let scheduled = CreateDrillScheduleRequest {
        parent: "groups/orders".to_owned(),
        aim: aim("dry_run", ""),
        every: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        first_time: Some(prost_types::Timestamp { seconds: i64::try_from(soon.as_secs()).unwrap(), nanos: 0 }),
        reason: "hourly".to_owned(),
        ..CreateDrillScheduleRequest::default()
    };
    client.create_drill_schedule(scheduled).await.unwrap();
    let missed = given("what is due in a freeze is missed", async || by_itself("missed").await).await;
    assert!(has(&missed, "freeze"), "{missed:#?}");
}

/// The group has no automation by the plan, and its primary is lost: what would have been decided is told, and nothing is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_automation_would_decide_is_noted_and_people_are_told_of_drills() {
    let observed = "    automatic_failover: false\n    probe: { interval: 1s, timeout: 1s }\n    confirm_hold: 2s\n    \
        local_recovery: 2s\n    hooks: { after: tell }\n    data_class: orders_data\n";
    let shown = "  backup_strategy: { orders_data: { frequency: hourly, retention: 30d } }\n  \
        recovery_procedures: { data_recovery: { primary_source: continuous_replication, validation_steps: [verify_data_integrity] } }\nvalidation:\n  \
        verify_data_integrity: { sql: \"select count(*) = 1 from portolan.lease\", timeout: 30s }\nbackups:\n  orders_data: \
        [{ source: exec, hook: list-backups, restore: pg-restore }]\n";
    let mut play = Play::with(&[], observed, &format!("{RECOVERY}{shown}")).await;
    play.is_served_by(US).await;
    play.fleet.agrees("all follow", |state| state.group(&group()).unwrap().absent.is_empty()).await;
    let client = play.fleet.running().next().unwrap().client().await;

    // The program that tells people is told that this is a drill; the first time it does not take it.
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let tell =
        format!("#!/bin/sh\necho \"$PORTOLAN_VERB $PORTOLAN_GROUP $PORTOLAN_KEY\" >> {0}; test $(wc -l < {0}) -gt 1\n", told.display());
    for bed in play.fleet.running() {
        let path = bed.files.setup.hooks_dir.as_ref().unwrap().join("tell");
        std::fs::write(&path, &tell).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let failed = ended(&client, &start(&client, aim("notification", "")).await).await;
    assert_eq!(failed.outcome, "failed", "{failed:#?}");
    assert!(report(&client, &failed).await.contains("nobody would have been told"));
    let passed = ended(&client, &start(&client, aim("notification", "")).await).await;
    assert_eq!((passed.outcome.as_str(), has(&passed, "hook tell took it")), ("passed", true), "{passed:#?}");
    let heard = std::fs::read_to_string(&told).unwrap();
    let keys: Vec<String> =
        [&failed, &passed].iter().map(|it| it.name.replace("drills/", "drill orders orders/") + "/notification").collect();
    assert_eq!(heard.lines().collect::<Vec<_>>(), keys);

    // A copy of a standby is opened where nobody reaches it. Nothing of it is left, and the standby is what it was.
    let restored = ended(&client, &start(&client, aim("isolated", "")).await).await;
    assert_eq!((restored.outcome.as_str(), restored.aim.clone().unwrap().region.as_str()), ("passed", AP), "{restored:#?}");
    for text in [
        "was made, opened apart, and is removed",
        "the copy was promoted",
        "verify_data_integrity is shown",
        "no page failed its checksum",
        "behind the primary when it was whole",
    ] {
        assert!(has(&restored, text), "{text} in {restored:#?}");
    }
    assert!(restored.recovery.is_some() && !restored.loss.is_empty(), "{restored:#?}");
    assert_eq!(play.member(AP).sandboxes(), Vec::<PathBuf>::new());
    assert_eq!(play.member(AP).read::<bool>("select pg_is_in_recovery()").await, Some(true));
    let of_primary = StartDrillRequest {
        parent: "groups/orders".to_owned(),
        aim: aim("isolated", US),
        reason: "quarterly".to_owned(),
        ..StartDrillRequest::default()
    };
    assert!(client.start_drill(of_primary).await.unwrap_err().to_string().contains("open a copy of a standby"));

    // A backup of the same data, restored by a program of the operator.
    play.member(AP).back_up(play.member(US), "pg-restore");
    let from_backup = Some(DrillAim { from_backup: true, ..aim("isolated", AP).unwrap() });
    let restored = ended(&client, &start(&client, from_backup).await).await;
    assert_eq!(restored.outcome, "passed", "{restored:#?}");
    assert!(has(&restored, "a backup of orders_data was restored in") && has(&restored, "verify_data_integrity is shown"), "{restored:#?}");
    let classes = client.list_backups(ListBackupsRequest {}).await.unwrap().classes;
    assert!(classes[0].name == "orders_data" && classes[0].restore_time.is_some(), "{classes:#?}");
    let known = GetOutlookRequest { name: "groups/orders".to_owned() };
    let findings = client.get_outlook(known).await.unwrap().outlook.unwrap().findings;
    for check in ["restore", "backup_restore"] {
        assert!(findings.iter().any(|it| it.check == check && it.grade == "pass"), "{check} in {findings:#?}");
    }
    play.is_served_by(US).await;

    let lasts = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let begun = start(&client, Some(DrillAim { lasts, ..aim("observe_only", "").unwrap() })).await;
    let before = play.fleet.running().next().unwrap().daemon.agreed().group(&group()).unwrap().token;
    play.trio.members.get_mut(&Label::new(US)).unwrap().lose();
    let would = async || {
        let drill = client.get_drill(GetDrillRequest { name: begun.name.clone() }).await.ok()?.drill?;
        drill.lines.into_iter().find(|line| line.contains("would be decided"))
    };
    let would = given("a decision would have been made", would).await;
    assert!(would.contains(&format!("would be decided: {US} to ")) && would.contains("2 of 2 regions see it fail"), "{would}");
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let agreed = state.group(&group()).unwrap();
    assert_eq!((agreed.operation.as_ref(), agreed.token, agreed.primary().unwrap().as_str()), (None, before, US), "nothing was done");
    let us = play.trio.members.get_mut(&Label::new(US)).unwrap();
    us.supervise().await;
    us.start_process();
    play.is_served_by(US).await;
    let observed = ended(&client, &begun).await;
    assert_eq!(observed.outcome, "passed", "{observed:#?}");
    assert!(has(&observed, "the primary works again") && !observed.loss.is_empty(), "{observed:#?}");
    assert!(report(&client, &observed).await.contains("the primary came back by itself"));
}
