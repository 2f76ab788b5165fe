//! A group of real servers from its adoption on, with a leader without a network; and a failover as a person sees it.

use std::{ops::RangeInclusive, sync::Arc};

use portolan::{
    api::{ApiOptions, ApiServer},
    cli::Exit,
};
use portolan_core::{
    cluster::Outcome,
    failover::{
        group::{Ending, Group, HeldFor, Kind},
        step::{Decide, Step},
    },
    model::{group::Durability, ids::Label},
    recovery::exposure::Bracket,
};

const ZERO: std::time::Duration = std::time::Duration::ZERO;

use super::{
    leader::Leader,
    postgres::{Engine, Member, REGIONS, Trio, clock},
    reclone::Gate,
};
use crate::{
    canned::{self, Canned},
    cli::{self, Ran},
    daemon::given,
};

pub(super) struct Play {
    pub(super) trio: Trio,
    pub(super) leader: Leader,
}

pub(super) fn region(name: &str) -> Label {
    Label::new(name)
}

impl Play {
    /// All is up: us is the primary, and the others stream from it.
    pub(super) async fn begin(engine: Engine, durability: Durability) -> Self {
        Self::of(Trio::of(engine, REGIONS), durability).await
    }

    /// With these members.
    pub(super) async fn of(mut trio: Trio, durability: Durability) -> Self {
        trio.bootstrap(REGIONS).await;
        let leader = Leader::start(&REGIONS, durability);
        for name in REGIONS {
            let ends = trio.start(&region(name)).await;
            leader.attach(&region(name), ends);
        }
        let play = Self { trio, leader };
        play.is_served_by("us", &["ap", "eu"]).await;
        play
    }

    /// The primary takes writes by its grant, and these follow it.
    pub(super) async fn is_served_by(&self, primary: &str, followers: &[&str]) {
        let ready = async || {
            let group = self.leader.group();
            let is_settled = group.in_force().is_some_and(|grant| grant.region == region(primary) && grant.is_attested);
            let is_quiet = group.operation.is_none() && is_settled;
            let writes = self.leader.status(&region(primary)).is_some_and(|it| it.writes && it.grant == Some(group.token));
            let follow = followers.iter().all(|name| {
                self.leader.status(&region(name)).and_then(|it| it.follows).is_some_and(|(_, upstream)| upstream == region(primary))
            });
            (is_quiet && writes && follow).then_some(())
        };
        given(&format!("{primary} is followed by {followers:?}"), ready).await;
    }

    pub(super) fn member(&self, at: &str) -> &Member {
        &self.trio.members[&region(at)]
    }

    /// Writes these numbers, and waits until `followers` have them.
    pub(super) async fn write(&self, at: &str, numbers: RangeInclusive<i64>, followers: &[&str]) {
        let (mut written, last) = (0, *numbers.end());
        self.member(at).keep(numbers, |number| written = number).await;
        assert_eq!(written, last);
        for name in followers {
            given("the standby has it", async || self.last(name).await.filter(|number| *number == Some(last))).await;
        }
    }

    /// The greatest number that is kept there, if any.
    pub(super) async fn last(&self, at: &str) -> Option<Option<i64>> {
        Some(self.member(at).kept().await?.last().copied())
    }

    /// The host is gone, and the leader hears nothing of it.
    pub(super) fn lose(&mut self, at: &str) {
        self.leader.cut(&region(at), true);
        self.trio.members.get_mut(&region(at)).unwrap().lose();
    }

    /// It is back.
    pub(super) async fn bring_back(&mut self, at: &str) {
        self.leader.cut(&region(at), false);
        let ends = self.trio.start(&region(at)).await;
        self.leader.attach(&region(at), ends);
    }

    pub(super) fn decide(&self, kind: Kind, to: Option<&str>) {
        let group = self.leader.group();
        let decide = Decide {
            token: group.token,
            kind,
            from: group.primary().unwrap().clone(),
            to: to.map(region),
            plan_revision: 1,
            estimate: Bracket { low: ZERO, high: Some(ZERO) },
            allowed_loss: None,
            grounds: None,
            drill: None,
            setback: None,
            guards: Vec::new(),
        };
        let outcome = self.leader.step(Step::Decide(Box::new(decide)));
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }

    pub(super) async fn ended(&self, ending: Ending) {
        let over = async || {
            let group = self.leader.group();
            (group.operation.is_none() && group.latest.is_some_and(|it| it.ending == ending)).then_some(())
        };
        given("the operation is over", over).await;
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:#?}\n{:#?}", self.leader.told(), self.leader.group());
            for name in REGIONS {
                println!("{name}: {:?}", self.leader.status(&region(name)));
            }
        }
    }
}

/// us was replaced by eu, is back, and is to be rewound, since it had seven writes alone. The rehearsal is over; the rewind waits for the gate.
async fn rewinding() -> (Play, Gate) {
    let mut play = Play::begin(Engine::Postgres, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.member("us").hang_shipping().await;
    play.write("us", 101..=107, &[]).await;
    play.lose("us");
    play.decide(Kind::Failover, Some("eu"));
    play.ended(Ending::Succeeded).await;
    play.is_served_by("eu", &["ap"]).await;
    let gate = play.trio.members.get_mut(&region("us")).unwrap().gate_rewinds();
    play.bring_back("us").await;
    given("the rewind is under way", async || gate.was_tried().then_some(())).await;
    (play, gate)
}

/// The primary's grant is made anew while the old primary is rewound, as where its clock is doubted or the plan wants other terms: a rewind that is broken
/// off would leave a directory that only a new copy of everything helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_goes_on_when_the_grant_of_the_one_that_is_followed_is_made_anew() {
    let (play, gate) = rewinding().await;

    let grant = play.leader.group().in_force().unwrap().clone();
    let outcome = play.leader.step(Step::Regrant { token: grant.token, class: grant.class });
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    let anew = play.leader.group().token;
    assert!(anew > grant.token);
    given("its agent was told to follow by the new one", async || play.leader.status(&region("us")).filter(|it| it.highest == anew)).await;
    gate.open();
    play.is_served_by("eu", &["ap", "us"]).await;
    assert!(play.member("us").commits_put_aside() >= 7, "the seven writes, and the heartbeats among them");
    play.write("eu", 201..=210, &["ap", "us"]).await;
    let kept = play.member("us").kept().await.unwrap();
    assert_eq!(kept, (1..=100).chain(201..=210).collect::<Vec<_>>());
}

/// What a rewind has begun to change nobody starts, and its agent says so; the group goes on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_whose_source_dies_leaves_a_directory_that_nobody_starts() {
    let (mut play, gate) = rewinding().await;
    let starts = play.member("us").supervised().await.unwrap().starts;
    play.lose("eu");
    gate.open();
    let says =
        async || play.leader.status(&region("us"))?.trouble.filter(|it| it.starts_with("RECLONE_REQUIRED: a rewind to eu began in "));
    given("its agent says what it is", says).await;
    play.decide(Kind::Failover, Some("ap"));
    play.ended(Ending::Succeeded).await;
    play.is_served_by("ap", &[]).await;
    play.write("ap", 201..=210, &[]).await;
    given("its agent still says so, by ap's grant", async || {
        let status = play.leader.status(&region("us"))?;
        (status.highest == play.leader.group().token && status.trouble?.starts_with("RECLONE_REQUIRED")).then_some(())
    })
    .await;
    let supervised = play.member("us").supervised().await.unwrap();
    assert!(supervised.process.is_none() && supervised.starts == starts, "{supervised:?}");
}

/// The command line, in a thread that may block, as a process of its own would be.
async fn portolan(address: &str, arguments: &[&str]) -> Ran {
    let (address, arguments): (String, Vec<String>) = (address.to_owned(), arguments.iter().map(|it| (*it).to_owned()).collect());
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        cli::portolan(&arguments, &[("PORTOLAN_ADDRESS", &address)], false)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_is_held_at_the_gate_is_approved_watched_to_its_end_and_reported() {
    let mut play = Play::begin(Engine::Postgres, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    play.member("us").hang_shipping().await;
    play.write("us", 101..=107, &[]).await;
    let hours = |n: u64| std::time::Duration::from_secs(n * 3600);
    play.leader.would_lose(Bracket { low: hours(2), high: Some(hours(3)) });
    play.lose("us");
    play.decide(Kind::Failover, None);
    let is_held = |group: &Group| group.operation.as_ref()?.held.as_ref().filter(|held| held.reason == HeldFor::RpoGate).map(|_| ());
    given("it is held at the gate", async || is_held(&play.leader.group())).await;

    let options = ApiOptions::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let server = ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Arc::new(play.leader.clone())).await.unwrap();
    let (address, name) = (server.address().to_string(), format!("op-{}", play.leader.group().operation.unwrap().id));
    let too_little = portolan(&address, &["approve", &name, "--allow-data-loss", "1h", "--reason", "it burns", "--yes"]).await;
    assert_eq!(too_little.exit, Exit::Refused, "{}", too_little.err);
    let watcher = tokio::spawn({
        let (address, name) = (address.clone(), name.clone());
        async move { portolan(&address, &["watch", &name]).await }
    });
    given("somebody watches", async || (play.leader.watchers() > 0).then_some(())).await;
    let approved = portolan(&address, &["approve", &name, "--allow-data-loss", "4h", "--reason", "the region burns", "--yes"]).await;
    assert_eq!(approved.exit, Exit::Ok, "{}", approved.err);
    let watched = watcher.await.unwrap();
    assert_eq!(watched.exit, Exit::Ok, "{}{}", watched.out, watched.err);
    assert!(watched.out.contains("HELD, RPO_GATE: 2h to 3h would be lost, and 1h may be"), "{}", watched.out);
    assert!(watched.out.ends_with(&format!("{name} succeeded\n")), "{}", watched.out);

    let ended = play.leader.group().latest.unwrap();
    let report = portolan(&address, &["report", &name]).await;
    assert_eq!(report.exit, Exit::Ok, "{}", report.err);
    for mark in &ended.operation.marks {
        assert!(watched.out.contains(&mark.text), "{}: {}", mark.text, watched.out);
        assert!(report.out.contains(&format!("| {} | ", mark.index)), "{}: {}", mark.text, report.out);
    }
    assert!(report.out.contains("| approved, a loss of 4h allowed | the region burns |"), "{}", report.out);
    assert!(report.out.contains("- **By what was sealed**: 2h to 3h\n"), "{}", report.out);
    let primary = ended.operation.chosen.unwrap().choice.region;
    assert_eq!(play.last(primary.as_str()).await, Some(Some(100)), "what was not shipped is lost, as a person allowed");
    server.shutdown().await;
}

/// The other two ways of a hold at the gate: nobody says anything, and nothing moves; or the old primary gets its lease back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_at_the_gate_stays_held_until_a_cancel_lets_the_old_primary_write_again() {
    let play = Play::begin(Engine::Postgres, Durability::Async).await;
    play.write("us", 1..=100, &["ap", "eu"]).await;
    let hours = |n: u64| std::time::Duration::from_secs(n * 3600);
    play.leader.would_lose(Bracket { low: hours(2), high: Some(hours(3)) });
    play.decide(Kind::Failover, None);
    let held = || play.leader.group().operation.filter(|it| it.held.as_ref().is_some_and(|held| held.reason == HeldFor::RpoGate));
    let operation = given("it is held at the gate", async || held()).await;
    let options = ApiOptions::new(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), None);
    let server = ApiServer::start_with(options, Canned::new(Ok(canned::ok())), Arc::new(play.leader.clone())).await.unwrap();
    let (address, name) = (server.address().to_string(), format!("op-{}", operation.id));
    let shown = portolan(&address, &["recovery", "status"]).await;
    let ways = format!(
        "next: portolan approve {name} --allow-data-loss TIME --reason TEXT, or portolan cancel {name} --reason TEXT (us gets its lease \
         back), or wait: it stays held, and nothing is promoted\n"
    );
    assert!(shown.out.contains(&ways), "{}", shown.out);

    let waited = std::time::Duration::from_secs(5);
    let since = clock();
    given("nobody did anything for a while", async || (clock().since(since) >= waited).then_some(())).await;
    assert_eq!(held().map(|it| (it.id, it.phase)), Some((operation.id, operation.phase)), "it stays held");
    assert_eq!(play.last("us").await, None, "its database is stopped, and stays so");
    for name in ["ap", "eu"] {
        assert_eq!(play.member(name).is_standby().await, Some(true), "nobody was promoted");
    }

    let cancelled = portolan(&address, &["cancel", &name, "--reason", "the region is back", "--yes"]).await;
    assert_eq!(cancelled.exit, Exit::Ok, "{}", cancelled.err);
    play.ended(Ending::Cancelled).await;
    play.is_served_by("us", &["ap", "eu"]).await;
    play.write("us", 101..=107, &["ap", "eu"]).await;
    assert_eq!(play.leader.group().forks, [], "and the line goes on where it was");
    server.shutdown().await;
}
