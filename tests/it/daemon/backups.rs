//! A daemon that looks at backups in a directory and in a bucket, while they come, go, and cannot be seen.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use portolan::api::proto::{BackupClass, GetOutlookRequest, ListBackupsRequest};

use super::{
    Bed, Files, given,
    plan::{EU, Plan, US},
};
use crate::backup::moto::{Moto, SECRET};

/// A class of a data group, in a directory of this node's region and in a bucket elsewhere.
fn strategy(directory: &Path, endpoint: &str) -> String {
    let directory = directory.display();
    format!(
        "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  recovery_procedures:\n    \
         data_recovery: {{ primary_source: continuous_replication, backup_source: point_in_time_backup }}\n  backup_strategy:\n    \
         orders_data: {{ frequency: hourly, retention: 30d, storage: multi-region, encryption: AES-256, versioning: true }}\n\
         backups:\n  orders_data:\n    \
         - {{ source: directory, path: {directory}, region: {US}, look_every: 1s }}\n    \
         - {{ source: directory, path: {directory}, region: {EU}, look_every: 1s }}\n    \
         - {{ source: s3, url: \"s3://dr-eu/orders\", endpoint: \"{endpoint}\", secret: s3, region: {EU}, look_every: 1s }}\n\
         data_groups:\n  orders:\n    engine: postgresql\n    data_class: orders_data\n    primary: {US}\n    fence: [{{ lease: expire }}]\n    \
         members:\n      {US}: {{ address: \"127.0.0.1:1\", dsn: database, agent: pg-us }}\n      \
         {EU}: {{ address: \"127.0.0.1:2\", dsn: database, agent: pg-eu }}\n"
    )
}

async fn class(bed: &Bed) -> Option<BackupClass> {
    bed.client().await.list_backups(ListBackupsRequest {}).await.unwrap().classes.into_iter().next()
}

fn grade<'a>(class: &'a BackupClass, check: &str) -> &'a str {
    class.findings.iter().find(|finding| finding.check == check).map(|finding| finding.grade.as_str()).unwrap_or_default()
}

/// A program of the operator lists what is there; when it talks nonsense, hangs over nothing, or is gone, that is told, and nothing is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_lists_backups() {
    let mut plan = Plan::three_regions();
    plan.more = "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  backup_strategy:\n    \
         orders_data: { frequency: hourly, retention: 30d, encryption: AES-256 }\n\
         backups:\n  orders_data: [{ source: exec, hook: list-backups, look_every: 1s }]\n"
        .to_owned();
    let files = Files::new(&plan.text(1));
    let hooks = files.setup.hooks_dir.clone().unwrap();
    fs::create_dir_all(&hooks).unwrap();
    let put = |script: &str| {
        // Whole or not at all, as whoever installs programs does.
        let (file, new) = (hooks.join("list-backups"), hooks.join("list-backups.new"));
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, file).unwrap();
    };
    let listing = r#"[{"name":"monday","size":5,"modified":"2026-11-22T03:03:20Z","complete":true,"encrypted":true}]"#;
    put(&format!("echo '{listing}'"));
    let bed = files.start().await;
    bed.ready().await;
    let seen = given("the listing is read", async || class(&bed).await.filter(|class| class.places[0].complete == Some(1))).await;
    assert_eq!(
        (seen.places[0].place.as_str(), seen.places[0].newest.as_str(), seen.places[0].octets),
        ("exec list-backups", "monday", Some(5))
    );
    assert_eq!(grade(&seen, "encryption"), "pass");
    for (script, why) in [
        ("echo hush; exit 0", "its listing cannot be read"),
        ("echo no bucket >&2; exit 3", "hook `list-backups` ended with 3: no bucket"),
        ("yes | head -c 20000000", "printed more than"),
    ] {
        put(script);
        let told = given(why, async || class(&bed).await.filter(|class| class.places[0].trouble.contains(why))).await;
        assert!(!told.places[0].trouble.contains("hush") && told.places[0].complete == Some(1), "{told:#?}");
    }
    fs::remove_file(hooks.join("list-backups")).unwrap();
    given("it is missed", async || class(&bed).await.filter(|class| class.places[0].trouble.contains("put the program there"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_looked_at_beside_everything_else() {
    let (moto, folder) = (Moto::start().await, tempfile::tempdir().unwrap());
    let directory = folder.path().join("orders");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("monday.dump"), "12345").unwrap();
    let mut plan = Plan::three_regions();
    plan.more = strategy(&directory, &moto.endpoint());
    let files = Files::new(&plan.text(1));
    let secret = files.setup.secrets_dir.as_ref().unwrap().join("s3");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let bed = files.start().await;
    bed.ready().await;

    // There is no bucket yet; a directory of another region is not for this node to look at.
    let seen = given("the directory is seen and the bucket is not", async || {
        let class = class(&bed).await?;
        (class.places[0].complete == Some(1) && class.places.iter().skip(1).all(|place| !place.trouble.is_empty())).then_some(class)
    })
    .await;
    assert_eq!(
        (seen.places[0].newest.as_str(), seen.places[0].octets, seen.places[0].truncated),
        ("monday.dump", Some(5), false),
        "{seen:#?}"
    );
    assert!(seen.places[1].trouble.contains("only nodes in eu-west-1 look at it"), "{seen:#?}");
    assert_eq!(seen.places[2].trouble, "127.0.0.1 refuses: NoSuchBucket, there is no such bucket");
    assert_eq!((seen.places[2].complete, seen.places[2].newest_time), (None, None), "unknown is not zero");
    assert_eq!(
        (seen.standing.as_str(), grade(&seen, "age"), grade(&seen, "storage"), grade(&seen, "encryption")),
        ("unknown", "pass", "unknown", "unknown")
    );
    assert!(seen.age.is_some() && seen.restore_time.is_none());

    moto.put("dr-eu", &[], "").await;
    moto.version("dr-eu").await;
    moto.put("dr-eu/orders/monday.dump", &[("x-amz-server-side-encryption", "AES256")], "12345").await;
    let seen = given("the bucket is seen", async || class(&bed).await.filter(|class| class.places[2].trouble.is_empty())).await;
    assert_eq!((grade(&seen, "storage"), seen.places[2].newest.as_str()), ("pass", "monday.dump"), "{seen:#?}");
    assert_eq!(
        (seen.places[2].encryption.as_str(), seen.places[2].versioning.as_str(), seen.places[0].versioning.as_str()),
        ("proven", "proven", "unknown")
    );

    // Readiness tells of them, and a failover does not depend on them.
    let request = GetOutlookRequest { name: "groups/orders".to_owned() };
    let outlook = given("the group is known", async || bed.client().await.get_outlook(request.clone()).await.ok()?.outlook).await;
    let finding = outlook.findings.iter().find(|finding| finding.check == "backups").unwrap();
    assert_eq!((finding.grade.as_str(), finding.fix.as_str()), ("warn", "see all of it: portolan recovery backups orders_data"));
    // Nobody tells how far the log of this group is archived: so nobody knows whether one can go back to any moment.
    let moment = outlook.findings.iter().find(|finding| finding.check == "point_in_time").unwrap();
    assert!(moment.grade == "warn" && moment.text.starts_with("unknown: the agent of the primary of orders"), "{moment:?}");
    assert_eq!(grade(&class(&bed).await.unwrap(), "point_in_time"), "unknown");
    let (_, metrics) = bed.get("/metrics").await;
    for line in
        [r#"portolan_backup_standing{class="orders_data",standing="unknown"} 1"#, r#"portolan_backup_looks_failing{class="orders_data"} 1"#]
    {
        assert!(metrics.lines().any(|printed| printed == line), "{line} is not in {metrics}");
    }

    // What cannot be seen any more keeps its figures.
    fs::rename(&directory, folder.path().join("away")).unwrap();
    let gone = given("the directory is missed", async || class(&bed).await.filter(|class| !class.places[0].trouble.is_empty())).await;
    assert!(gone.places[0].trouble.contains("No such file or directory"), "{gone:#?}");
    assert_eq!((gone.places[0].newest.as_str(), gone.places[0].complete), ("monday.dump", Some(1)));
    assert!(gone.places[0].look_time.is_some() && gone.places[0].trouble_time.is_some());

    // Another plan: what stays is kept, what goes is forgotten.
    plan.more = plan.more.replace("hourly", "daily");
    bed.files.replace("plan.yaml", plan.text(2));
    let kept = given("the plan is taken in", async || class(&bed).await.filter(|class| class.rule.starts_with("taken daily"))).await;
    assert_eq!(kept.places[0].newest, "monday.dump", "{kept:#?}");
    plan.more = String::new();
    bed.files.replace("plan.yaml", plan.text(3));
    given("there is no strategy", async || class(&bed).await.is_none().then_some(())).await;
}
