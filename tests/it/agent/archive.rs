//! What is told of a primary's archive: a real server whose archive command copies, and then fails.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use portolan::engine::{Server as _, postgres::Postgres};
use portolan_core::{failover::engine::postgres::position, model::ids::Label, recovery::archive::Archive};
use tokio_postgres::Client;

use super::postgres::{REGIONS, Trio, owner};
use crate::daemon::given;

async fn archive(server: &Postgres) -> Option<Archive> {
    server.look(Some((1, true))).await.unwrap().server?.archive
}

/// Writes something, and has the segment archived that it is in; where the log was behind it.
async fn write(client: &Client) -> u64 {
    client.batch_execute("create table if not exists written (n int); insert into written values (1)").await.unwrap();
    let at: String = client.query_one("select pg_current_wal_flush_lsn()::text", &[]).await.unwrap().get(0);
    client.batch_execute("select pg_switch_wal()").await.unwrap();
    position(&at).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_log_is_archived_is_told_and_that_it_is_no_more() {
    let trio = Trio::new(REGIONS);
    let primary = &trio.members[&Label::new("us")];
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(place.path(), Some(owner().uid.as_raw()), Some(owner().gid.as_raw())).unwrap();
    let server = primary.beside();

    primary.start_alone();
    assert_eq!(archive(&server).await, Some(Archive::default()), "it archives nothing");
    primary.stop_alone();

    let mut conf = OpenOptions::new().append(true).open(primary.data().join("postgresql.conf")).unwrap();
    writeln!(conf, "archive_mode = on\narchive_command = 'cp %p {}/%f'", place.path().display()).unwrap();
    primary.start_alone();
    let begun = archive(&server).await.unwrap();
    assert!(begun.is_on && begun.failing.is_none(), "{begun:?}");
    let client = primary.connect().await.unwrap();
    let written = write(&client).await;
    let seen = given("it is archived", async || archive(&server).await.filter(|it| it.up_to.is_some_and(|up_to| up_to >= written))).await;
    assert!(seen.succeeded.is_some() && seen.failing.is_none() && seen.n_failed == 0, "{seen:?}");
    let now: String = client.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    assert!(seen.up_to.unwrap() <= position(&now).unwrap(), "{seen:?} at {now}: no more than there is");
    let segments = fs::read_dir(place.path()).unwrap().count();
    assert!(segments > 0);

    client.batch_execute("alter system set archive_command = 'false'").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    // The command is another one from a moment of the server's own on.
    given("it fails", async || {
        write(&client).await;
        archive(&server).await.filter(|it| it.failing.is_some())
    })
    .await;
    let lost = write(&client).await;
    let failing = archive(&server).await.unwrap();
    assert!(failing.n_failed > 0 && failing.up_to.unwrap() < lost && failing.up_to >= seen.up_to, "{failing:?}");
    primary.stop_alone();

    // A standby does not archive, and says nothing.
    primary.mark();
    primary.start_alone();
    assert_eq!(archive(&server).await, None);
    primary.stop_alone();
}
