//! What is amiss with a database that works, seen on real servers: copies that are never promoted, settings that a failover would miss, and logins
//! that are not let in.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use portolan::engine::{Server as _, postgres::Postgres};
use portolan_core::{
    failover::{
        adopt,
        agent::Facts,
        engine::{Course as _, postgres::Course},
    },
    model::ids::Label,
};

use super::postgres::{Member, REGIONS, Trio, tool};
use crate::daemon::given;

const EU: &str = "eu";
const US: &str = "us";

/// More lines in the server's configuration, before it is started.
pub(super) fn set(member: &Member, line: &str) {
    let mut conf = OpenOptions::new().append(true).open(member.data().join("postgresql.conf")).unwrap();
    writeln!(conf, "{line}").unwrap();
}

async fn facts(server: &Postgres, region: &str) -> Facts {
    Course::facts(&server.look(Some((1, true))).await.unwrap(), &Label::new(region), Some(100))
}

/// As `check: text`.
fn told(facts: &Facts) -> Vec<String> {
    facts.concerns.iter().flatten().map(|it| format!("{}: {}", it.check, it.text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_holds_back_what_it_receives_is_never_promoted_and_says_so() {
    let trio = Trio::new(REGIONS);
    let eu = &trio.members[&Label::new(EU)];
    eu.start_alone();
    let well = facts(&eu.beside(), EU).await;
    assert_eq!((well.unfit, well.copy.unwrap().priority), (None, Some(100)));
    eu.stop_alone();
    set(eu, "recovery_min_apply_delay = '1h'");
    eu.start_alone();
    let late = facts(&eu.beside(), EU).await;
    eu.stop_alone();
    assert!(late.unfit.as_ref().is_some_and(|why| why.contains("recovery_min_apply_delay")), "{late:?}");
    assert_eq!(late.copy.unwrap().priority, None, "whatever the plan says");
}

/// It has every row, and no page: nothing that a failover could promote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logical_subscriber_is_another_database_and_no_standby() {
    let trio = Trio::new(REGIONS);
    let (us, eu) = (&trio.members[&Label::new(US)], &trio.members[&Label::new(EU)]);
    set(us, "wal_level = logical");
    us.start_alone();
    fs::remove_dir_all(eu.data()).unwrap();
    tool("initdb", &["-D", eu.data().to_str().unwrap(), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]);
    eu.start_alone();
    let ledger = "create table ledger (id bigint primary key)";
    let (there, here) = (us.connect().await.unwrap(), eu.connect().await.unwrap());
    there.batch_execute(ledger).await.unwrap();
    there.batch_execute("create publication all_of_it for all tables; insert into ledger values (1)").await.unwrap();
    here.batch_execute(ledger).await.unwrap();
    let subscribe = format!(
        "create subscription all_of_it connection 'host=127.0.0.1 port={} user=postgres dbname=postgres' publication all_of_it",
        us.address().rsplit_once(':').unwrap().1
    );
    here.batch_execute(&subscribe).await.unwrap();
    given("it has the row", async || eu.read::<i64>("select count(*) from ledger").await.filter(|rows| *rows == 1)).await;

    let (primary, subscriber) = (facts(&us.beside(), US).await, facts(&eu.beside(), EU).await);
    let sights = [(Label::new(US), primary.sight.unwrap()), (Label::new(EU), subscriber.sight.unwrap())];
    let regions = [Label::new(EU), Label::new(US)];
    let why = adopt::find(regions.iter(), &sights.into_iter().collect()).unwrap_err().to_string();
    assert_eq!(why, "eu and us hold different databases: their system identifiers differ");
    // This one was made without what lets it be rewound.
    assert!(told(&subscriber).iter().any(|it| it.starts_with("rewind: it has neither")), "{subscriber:?}");
    assert!(!told(&primary).iter().any(|it| it.starts_with("rewind")), "{primary:?}");
    here.batch_execute("drop subscription all_of_it").await.unwrap();
    eu.stop_alone();
    us.stop_alone();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_member_would_not_let_it_do_is_told_before_it_has_to() {
    let trio = Trio::new(REGIONS);
    let (us, eu) = (&trio.members[&Label::new(US)], &trio.members[&Label::new(EU)]);
    set(us, "max_connections = 150");
    set(eu, "max_slot_wal_keep_size = 1GB");
    us.start_alone();
    eu.start_alone();
    us.connect().await.unwrap().batch_execute("create role reader login").await.unwrap();
    let members = || {
        let mut members = trio.addresses();
        members.remove(&Label::new("ap"));
        members
    };
    let about_us = async |login: &str| {
        let server = eu.beside_as(&eu.own(), &format!("user={login} sslmode=disable"));
        server.set_members(members());
        // They are asked beside the looks.
        given("us has answered", async || server.look(Some((1, true))).await.ok().filter(|seen| !seen.others.is_empty())).await;
        told(&facts(&server, EU).await)
    };
    let limits = "limits: max_connections is 100, and 150 in us: it would stop replaying as its standby";
    assert_eq!(about_us("postgres").await, [limits]);
    let reader = about_us("reader").await;
    assert!(reader[0].contains("may not replicate") && reader[1].contains("may not read its files"), "{reader:?}");
    assert_eq!(reader[2..], [limits]);
    let stranger = about_us("stranger").await;
    assert!(stranger[0].starts_with("replication: it could not follow us now: ") && stranger[0].contains("\"stranger\""), "{stranger:?}");
    eu.stop_alone();
    us.stop_alone();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_not_let_in_is_told_with_the_servers_words_and_without_the_password() {
    let trio = Trio::new(REGIONS);
    let us = &trio.members[&Label::new(US)];
    us.start_alone();
    us.connect().await.unwrap().batch_execute("create role agent login superuser password 'right-one'").await.unwrap();
    let rules = us.data().join("pg_hba.conf");
    let before = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("local all agent scram-sha-256\n{before}")).unwrap();
    us.connect().await.unwrap().batch_execute("select pg_reload_conf()").await.unwrap();
    let login = |password: &str| us.own().replace("user=postgres", &format!("user=agent password={password}"));
    let silence = async |own: &str| facts(&us.beside_as(own, ""), US).await.silence;
    let refused = given("the new rules are read", async || silence(&login("wrong-one")).await).await;
    assert!(refused.contains("password authentication failed for user \"agent\"") && !refused.contains("wrong-one"), "{refused}");
    assert_eq!(silence(&login("right-one")).await, None);
    let nobody = silence(&us.own().replace("user=postgres", "user=nobody")).await.unwrap();
    assert!(nobody.contains("role \"nobody\" does not exist"), "{nobody}");
    us.stop_alone();
    // Whatever was said while it ran: of one that does not run nothing is amiss but that.
    let down = Course::facts(&us.beside_as(&login("wrong-one"), "").look(Some((1, false))).await.unwrap(), &Label::new(US), None);
    assert_eq!((down.silence, down.concerns), (None, None));
}
