//! The daemons have no majority, and the databases are well: who writes goes on for as long as all members acknowledge it, and no longer.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use portolan_core::model::ids::Label;

use super::{
    groups::{Play, SHORT, group, plan_of},
    plan::*,
    *,
};
use crate::agent::postgres::{Trio, clock};

/// What a client that never stops was told.
#[derive(Debug, Default)]
struct Client {
    acknowledged: AtomicU64,
    acknowledged_at: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Writes one number after the other on one connection after the other.
async fn write(play: &Play, region: &str, client: Arc<Client>) -> tokio::task::JoinHandle<()> {
    let first = play.member(region).connect().await.unwrap();
    first.batch_execute("create table ledger (id bigint primary key)").await.unwrap();
    let config = play.member(region).address();
    let (host, port) = config.split_once(':').unwrap();
    let config = format!("host={host} port={port} user=postgres dbname=postgres connect_timeout=1");
    tokio::spawn(async move {
        let mut id = 0_i64;
        while !client.is_over.load(SeqCst) {
            let Ok((session, connection)) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await else {
                client.refused.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
                continue;
            };
            let connection = tokio::spawn(connection);
            while !client.is_over.load(SeqCst) {
                id += 1;
                if session.execute("insert into ledger values ($1)", &[&id]).await.is_err() {
                    client.refused.fetch_add(1, SeqCst);
                    break;
                }
                client.acknowledged.store(u64::try_from(id).unwrap(), SeqCst);
                client.acknowledged_at.store(clock().0, SeqCst);
            }
            connection.abort();
        }
    })
}

fn main_process(play: &Play) -> PathBuf {
    PathBuf::from(format!("/proc/{}", play.member(US).main_process()))
}

/// The primary's server ends: when it was seen to be gone, and when its lease ended, by this host's clock.
async fn ends(play: &Play, main: &Path) -> (u64, u64) {
    let mut deadlines = BTreeSet::new();
    let gone = async || {
        deadlines.extend(async { play.member(US).supervised().await?.over_at }.await);
        (!main.exists()).then(|| clock().0)
    };
    let gone_at = given("the server ends with its lease", gone).await;
    (gone_at, *deadlines.last().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_a_primary_goes_on_while_all_members_acknowledge_it_and_by_itself_when_there_is_one() {
    let mut play = Play::with(&[], "", "").await;
    play.is_served_by(US).await;
    let began = "select pg_postmaster_start_time()::text";
    let first: String = play.member(US).read(began).await.unwrap();
    let client = Arc::<Client>::default();
    let writer = write(&play, US, Arc::clone(&client)).await;
    given("writes are acknowledged", async || (client.acknowledged.load(SeqCst) > 100).then_some(())).await;

    // Nobody decides any more. The primary's lease was of ten seconds.
    play.fleet.kill(0);
    play.fleet.kill(1);
    for _ in 0..3 {
        play.is_renewed(US).await;
    }
    assert_eq!(client.refused.load(SeqCst), 0, "no client has noticed");
    assert_eq!(play.member(US).read::<String>(began).await.as_ref(), Some(&first), "the same server, all the time");

    // One of them is silent: it may have promised to somebody else.
    let main = main_process(&play);
    play.trio.members.get_mut(&Label::new(AP)).unwrap().kill_process();
    let (gone_at, over_at) = ends(&play, &main).await;
    let last = client.acknowledged_at.load(SeqCst);
    assert!(last < over_at && gone_at < over_at, "acknowledged at {last}, gone at {gone_at}, and the lease ended at {over_at}");

    // That all are there again gives nobody a lease: there is none to be extended.
    play.trio.members.get_mut(&Label::new(AP)).unwrap().start_process();
    let token = play.fleet.running().next().unwrap().daemon.agreed().group(&group()).unwrap().token;
    play.fleet.start(0).await;
    play.is_served_by(US).await;
    let written = client.acknowledged.load(SeqCst);
    given("writes are acknowledged again", async || (client.acknowledged.load(SeqCst) > written).then_some(())).await;
    client.is_over.store(true, SeqCst);
    writer.await.unwrap();
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let agreed = state.group(&group()).unwrap();
    assert!(agreed.latest.is_none(), "nothing was failed over: {agreed:#?}");
    assert!(agreed.token >= token, "{} after {token}", agreed.token);
    let timeline = play.member(US).read::<i32>("select timeline_id from pg_control_checkpoint()").await;
    assert_eq!(timeline, Some(1), "it went on where it was");
    let kept = play.member(US).read::<i64>("select max(id) from ledger").await.unwrap();
    assert!(u64::try_from(kept).unwrap() >= client.acknowledged.load(SeqCst));
    play.fleet.start(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_the_voter_of_a_region_without_a_member_has_to_acknowledge_the_primary_too() {
    let mut trio = Trio::new([AP, EU, US]);
    trio.members.remove(&Label::new(AP));
    let plan = plan_of(&trio, SHORT, "");
    let mut play = Play::by(&plan, trio, &[]).await;
    play.is_served_by(US).await;
    let main = main_process(&play);

    // The only voter that is left is that of the region without a member: its word, and that of the other member's agent, suffice.
    play.fleet.kill(1);
    play.fleet.kill(2);
    for _ in 0..3 {
        play.is_renewed(US).await;
    }
    assert!(main.exists());

    // It is that voter which is gone now. The other member's agent is heard all the time.
    play.fleet.start(2).await;
    play.fleet.agrees("there is a majority", |state| state.group(&group()).is_some()).await;
    play.is_renewed(US).await;
    play.fleet.kill(0);
    let (gone_at, over_at) = ends(&play, &main).await;
    assert!(gone_at < over_at, "gone at {gone_at}, and the lease ended at {over_at}");

    play.fleet.start(0).await;
    play.is_served_by(US).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    assert!(state.group(&group()).unwrap().latest.is_none(), "nothing was failed over");
    play.fleet.start(1).await;
}
