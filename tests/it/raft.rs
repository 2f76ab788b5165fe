//! Consensus over its real boundary: openraft, our log on redb, our calls; the transport is a network in memory that can be cut.

mod disk;
mod net;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{
    StorageError,
    storage::RaftLogStorage,
    testing::log::{StoreBuilder, Suite},
};
use portolan::raft::{
    Calls, Consensus, Disk, Leadership, LogStore, Machine, Member, ProposeError, Reply, Step, Timing, Types, go_on_alone,
};
use portolan_core::{
    cluster::{Actor, Change, End, Entry, NodeId, Outcome, Role},
    model::{ids::Label, time::Timestamp},
};

use self::{
    disk::{Fault, Platter},
    net::Net,
};

/// A fraction of the time that voters between regions take.
fn timing(place: u32) -> Timing {
    Timing { heartbeat: Duration::from_millis(25), election: Duration::from_millis(600), place }
}

/// More than two heartbeats, and less than an election.
const SLOW: Duration = Duration::from_millis(70);

/// Longer than any election takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Builder;

impl StoreBuilder<Types, LogStore, Machine> for Builder {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<Types>> {
        let disk = Disk::on(Platter::default(), Calls::InPlace).expect("a new disk");
        let (machine, _) = Machine::open(disk.clone()).await.expect("an empty machine");
        Ok(((), LogStore::new(disk), machine))
    }
}

#[tokio::test]
async fn the_log_passes_the_suite_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(text: &str) -> Entry {
    let change = match text {
        "found" => Change::Found { cluster: Label::new("test") },
        "raise" => Change::RaiseGeneration { generation: 1, lost: BTreeSet::from([NodeId(99)]) },
        object => Change::Acknowledge { object: object.to_owned(), end: End::At(Timestamp(1_800_000_600_000)) },
    };
    Entry {
        at: Timestamp(1_800_000_000_000),
        by: Actor { name: "ana".to_owned(), role: Role::Operator },
        request_id: Some(text.to_owned()),
        reason: "drill".to_owned(),
        moves: None,
        overrules: Vec::new(),
        change,
    }
}

struct Cluster {
    net: Arc<Net>,
    platters: Vec<Platter>,
    nodes: Vec<Option<Consensus>>,
}

impl Cluster {
    fn member(id: usize) -> Member {
        Member { name: format!("n{id}"), region: format!("r{id}"), address: format!("n{id}:1"), is_witness: false }
    }

    /// Three voters, founded by the first.
    async fn new() -> Self {
        let net = Arc::new(Net::default());
        let platters: Vec<Platter> = (0..3).map(|_| Platter::default()).collect();
        let mut cluster = Self { net, platters, nodes: vec![None, None, None] };
        for id in 0..3 {
            cluster.start(id).await;
        }
        let members: BTreeMap<u64, Member> = (0..3).map(|id| (id as u64, Self::member(id))).collect();
        cluster.node(0).initialize(members).await.unwrap();
        cluster.commit(&[0, 1, 2], "found").await;
        cluster
    }

    async fn start(&mut self, id: usize) {
        let disk = Disk::on(self.platters[id].plugged(), Calls::InPlace).unwrap();
        let place = u32::try_from(id).unwrap();
        let transport = Arc::new(self.net.from(id as u64));
        let node = Consensus::start(id as u64, "test", timing(place), disk, transport).await.unwrap();
        self.net.attach(id as u64, node.clone());
        self.nodes[id] = Some(node);
    }

    /// The process dies; what was not synced is gone.
    async fn kill(&mut self, id: usize) {
        self.net.detach(id as u64);
        self.nodes[id].take().unwrap().shutdown().await.unwrap();
        self.platters[id].lose_power();
    }

    fn node(&self, id: usize) -> &Consensus {
        self.nodes[id].as_ref().unwrap()
    }

    /// Asks every living node in turn until one that leads has committed it.
    async fn commit(&self, among: &[usize], text: &str) {
        let all = async {
            loop {
                for &id in among {
                    let before = self.node(id).leadership();
                    match tokio::time::timeout(Duration::from_secs(2), self.node(id).propose(&entry(text))).await {
                        Ok(Ok(Reply::Applied { outcome: Outcome::Accepted { .. }, .. })) => return,
                        Ok(Ok(Reply::Applied { outcome, .. })) => panic!("{text}: {outcome}"),
                        Ok(Ok(Reply::Blank)) => unreachable!("a command is applied"),
                        Ok(Err(ProposeError::NotLeader(_) | ProposeError::Unknown)) | Err(_) => {}
                        Ok(Err(error)) => panic!("{error}"),
                    }
                    // Somebody else may lead soon; that this node does not hear of it is no reason to ask it alone.
                    let news = self.node(id).leadership_is(|now| *now != before);
                    let _ = tokio::time::timeout(Duration::from_millis(100), news).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("nobody commits `{text}`"))
    }

    /// Waits until this node has applied what `holds` asks for.
    async fn applied(&self, id: usize, text: &str) {
        let now = Timestamp(1_800_000_000_001);
        let mut standing = self.node(id).standing();
        let there = standing.wait_for(|standing| standing.state.acknowledgement(text, now).is_some());
        tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("n{id} never applies `{text}`")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_answers_later_than_the_next_heartbeat_counts_all_the_same() {
    let cluster = Cluster::new().await;
    cluster.net.slow_down(SLOW);
    for text in ["first", "second", "third"] {
        cluster.commit(&[0, 1, 2], text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_the_loss_of_any_one_voter() {
    let mut cluster = Cluster::new().await;
    cluster.commit(&[0, 1, 2], "first").await;
    for lost in 0..3 {
        cluster.kill(lost).await;
        let left: Vec<usize> = (0..3).filter(|id| *id != lost).collect();
        let text = format!("without-{lost}");
        cluster.commit(&left, &text).await;
        cluster.start(lost).await;
        // Everything that was ever acknowledged is there again, on the one that was away too.
        cluster.applied(lost, "first").await;
        cluster.applied(lost, &text).await;
    }
    let states: Vec<Vec<u8>> = futures_states(&cluster).await;
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "three nodes, one state");
}

/// The states of all nodes once they have applied the same entries.
async fn futures_states(cluster: &Cluster) -> Vec<Vec<u8>> {
    cluster.commit(&[0, 1, 2], "last").await;
    for id in 0..3 {
        cluster.applied(id, "last").await;
    }
    (0..3).map(|id| cluster.node(id).standing().borrow().state.snapshot()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_commits_nothing_and_rejoins_without_a_hand() {
    let cluster = Cluster::new().await;
    cluster.commit(&[0, 1, 2], "before").await;
    let leader = (0..3).find(|id| cluster.node(*id).leadership().is_leader).unwrap();
    let others: Vec<usize> = (0..3).filter(|id| *id != leader).collect();
    cluster.net.isolate(leader as u64, true);
    // What the old leader takes may be lost, and it never says that it was committed.
    let old = cluster.node(leader).clone();
    let orphan = tokio::spawn(async move { old.propose(&entry("orphan")).await });
    cluster.commit(&others, "meanwhile").await;
    assert!(cluster.node(leader).standing().borrow().state.acknowledgement("meanwhile", Timestamp(1_800_000_000_001)).is_none());
    let term = cluster.node(others[0]).leadership().term;
    cluster.net.isolate(leader as u64, false);
    cluster.applied(leader, "meanwhile").await;
    let outcome = tokio::time::timeout(PATIENCE, orphan).await.expect("it is told").unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
    // Pre-vote: the one that comes back unseats nobody.
    assert_eq!(cluster.node(others[0]).leadership().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_followed_the_side_that_was_lost_gets_the_whole_state_again() {
    let cluster = Cluster::new().await;
    // It has entries of the lost side, so that those of this side with the same indices would pass it by.
    let mut ahead = cluster.node(1).follow(1000);
    cluster.commit(&[0, 1, 2], "raise").await;
    let step = tokio::time::timeout(PATIENCE, ahead.step()).await.expect("it is told").unwrap();
    assert!(matches!(step, Step::Snapshot { next, .. } if next < 1000), "{step:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_node_that_takes_no_part_any_more_hears_of_it() {
    let mut cluster = Cluster::new().await;
    // Commits need not have reached this node; with nothing applied it would tell an entry first.
    cluster.commit(&[0, 1, 2], "before").await;
    cluster.applied(1, "before").await;
    let mut follower = cluster.node(1).follow(0);
    let step = tokio::time::timeout(PATIENCE, follower.step()).await.expect("it is told");
    assert!(matches!(step, Some(Step::Snapshot { .. })), "{step:?}");
    // Somebody still has a handle, as a task that waits may.
    let handle = cluster.node(1).clone();
    cluster.kill(1).await;
    let end = async { while follower.step().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
    drop(handle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_sent() {
    let cluster = Cluster::new().await;
    cluster.commit(&[0, 1, 2], "before").await;
    let leader = (0..3).find(|id| cluster.node(*id).leadership().is_leader).unwrap();
    let next = (leader + 1) % 3;
    cluster.node(leader).transfer_leader(next as u64).await.unwrap();
    let moved = cluster.node(next).leadership_is(|now| now.is_leader);
    tokio::time::timeout(PATIENCE, moved).await.expect("the other leads").unwrap();
    cluster.commit(&[next], "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_removed_does_not_take_itself_for_one_any_more() {
    let mut cluster = Cluster::new().await;
    let led = cluster.node(0).leadership_is(|now| now.leader.is_some()).await.unwrap();
    let id = led.leader.unwrap().0;
    let (removed, others) = (usize::try_from(id).unwrap(), (0..3).filter(|other| *other as u64 != id).collect::<Vec<usize>>());
    cluster.node(removed).change_voters(others.iter().map(|other| *other as u64)).await.unwrap();
    cluster.commit(&others, "without-it").await;
    // Nobody need write to it any more, so it may hear of no other leader.
    let is_other = |now: &Leadership| !now.is_leader && now.leader.as_ref().is_none_or(|(leader, _)| *leader != id);
    let went = cluster.node(removed).leadership_is(is_other);
    tokio::time::timeout(Duration::from_secs(10), went).await.expect("it still leads in its own eyes").unwrap();
    assert_ne!(cluster.node(removed).leads(None, PATIENCE), Some(id));
    cluster.kill(removed).await;
    cluster.start(removed).await;
    let back = cluster.node(removed).leadership_is(|now| now.term > 0).await.unwrap();
    assert!(is_other(&back), "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_starts_again_leads_when_a_majority_says_so() {
    let mut cluster = Cluster::new().await;
    cluster.commit(&[0, 1, 2], "before").await;
    let led = (0..3).find(|id| cluster.node(*id).leadership().is_leader).unwrap();
    let others: Vec<usize> = (0..3).filter(|id| *id != led).collect();
    for id in [others[0], others[1], led] {
        cluster.kill(id).await;
    }
    cluster.start(led).await;
    // By the vote on its disk it goes on where it was. That nobody is there to confirm it must not be taken for a confirmation.
    let again = cluster.node(led).leadership_is(|now| now.is_leader);
    let alone = tokio::time::timeout(PATIENCE, again).await.expect("it goes on by its own vote").unwrap();
    assert_eq!(alone.unconfirmed, None);
    assert_eq!(cluster.node(led).leads(None, PATIENCE), None);
    for id in &others {
        cluster.start(*id).await;
    }
    cluster.commit(&[0, 1, 2], "after").await;
    let confirmed = (0..3).map(|id| Box::pin(cluster.node(id).leadership_is(|now| now.unconfirmed.is_some())));
    let confirmed = tokio::time::timeout(PATIENCE, futures_util::future::select_all(confirmed));
    let (_, id, _) = confirmed.await.expect("a majority answers");
    assert_eq!(cluster.node(id).leads(None, PATIENCE), Some(id as u64));
}

async fn last_entry(platter: &Platter) -> u64 {
    let mut log = LogStore::new(Disk::on(platter.plugged(), Calls::InPlace).unwrap());
    let state = RaftLogStorage::<Types>::get_log_state(&mut log).await.unwrap();
    state.last_log_id.map_or(0, |last| last.index)
}

/// The order of a person who knows that the others are lost is on disk as a whole or not at all: the only voter of a log without the generation by which
/// the others are refused would be one cluster, and they with their disks another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_that_goes_while_a_survivor_is_made_the_only_voter_leaves_all_of_it_or_nothing() {
    let mut cluster = Cluster::new().await;
    cluster.commit(&[0, 1, 2], "before").await;
    cluster.applied(0, "before").await;
    for id in 0..3 {
        cluster.kill(id).await;
    }
    let before = cluster.platters[0].copy();
    let end = last_entry(&before).await;
    let (mut nothing, mut all) = (0, 0);
    for fuse in 0.. {
        let platter = before.copy();
        let disk = Disk::on(platter.plugged(), Calls::InPlace).unwrap();
        platter.set_fuse(Some(fuse));
        let done = go_on_alone(&disk, 0, Cluster::member(0), &entry("raise")).await;
        drop(disk);
        let is_cut = platter.is_dark();
        platter.lose_power();
        if last_entry(&platter).await == end {
            assert!(done.is_err(), "power went after {fuse} writes, and what was said to be done is not");
            nothing += 1;
            continue;
        }
        cluster.platters[0] = platter;
        cluster.start(0).await;
        let node = cluster.node(0);
        node.elect().await.unwrap();
        let mut standing = node.standing();
        let raised = standing.wait_for(|standing| standing.state.generation() == 1);
        let raised = tokio::time::timeout(PATIENCE, raised).await;
        raised.unwrap_or_else(|_| panic!("power went after {fuse} writes: the only voter is in the old generation")).unwrap();
        assert_eq!(node.members().voters.into_keys().collect::<Vec<u64>>(), [0]);
        all += 1;
        cluster.kill(0).await;
        if !is_cut {
            assert!(done.is_ok(), "{done:?}");
            break;
        }
    }
    assert!(nothing > 2 && all > 0, "{nothing} times nothing, {all} times all");
}

/// A leader that cannot keep what it is told must not go on as if it had, and must not try again until a disk says that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_whose_disk_is_full_or_does_not_sync_steps_out_and_the_others_go_on() {
    for fault in [Fault::Full, Fault::Sync] {
        let mut cluster = Cluster::new().await;
        cluster.commit(&[0, 1, 2], "before").await;
        let sick = (0..3).find(|id| cluster.node(*id).leadership().is_leader).unwrap();
        let others: Vec<usize> = (0..3).filter(|id| *id != sick).collect();
        cluster.platters[sick].set_fault(Some(fault));
        let told = tokio::time::timeout(PATIENCE, cluster.node(sick).propose(&entry("not-kept"))).await.expect("it is told");
        assert!(matches!(told, Err(ProposeError::Stopped(_))), "{fault:?}: {told:?}");
        let again = tokio::time::timeout(PATIENCE, cluster.node(sick).propose(&entry("again"))).await.expect("it is told");
        assert!(matches!(again, Err(ProposeError::Stopped(_))), "{fault:?}: it takes no part any more: {again:?}");
        cluster.commit(&others, "meanwhile").await;
        // Mended, and started again, it has what was kept, and catches up.
        cluster.platters[sick].set_fault(None);
        cluster.net.detach(sick as u64);
        // It has ended already, whatever it says to that.
        let _ = cluster.nodes[sick].take().unwrap().shutdown().await;
        cluster.platters[sick].lose_power();
        cluster.start(sick).await;
        cluster.applied(sick, "before").await;
        cluster.applied(sick, "meanwhile").await;
        let states = futures_states(&cluster).await;
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{fault:?}: three nodes, one state");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let cluster = Cluster::new().await;
    for call in [
        portolan::raft::Call::Append,
        portolan::raft::Call::Vote,
        portolan::raft::Call::PreVote,
        portolan::raft::Call::TransferLeader,
        portolan::raft::Call::Snapshot,
    ] {
        for body in [&b""[..], b"{", b"null", b"[1]", &[0xff; 100]] {
            let refused = cluster.node(1).receive(call, body).await;
            assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("cannot be read")), "{refused:?}");
        }
    }
    assert!(matches!(cluster.node(0).propose_octets(b"{}".to_vec()).await, Err(ProposeError::Halted(_))));
}
