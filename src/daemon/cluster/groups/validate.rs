//! What the plan wants to be shown of a new primary: asked from the leader, as clients would, step by step.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    failover::token::Token,
    model::{
        check::{Address, Outcome},
        ids::Label,
        time::Human,
    },
    plan::{Means, Trigger, ValidationStep, sections::Engine},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::hooks;
use crate::{daemon::cluster::Shared, hook::Answer, latest::Latest, probe};

/// Between two tries of a step.
const AGAIN: Duration = Duration::from_secs(1);

/// For one question.
const ASK: Duration = Duration::from_secs(10);

/// It takes writes, bears the token of its grant, and no page has failed its checksum since the statistics began.
const INTEGRITY: &str = "select not pg_is_in_recovery(), (select generation || '.' || epoch from portolan.lease), \
    (select coalesce(sum(checksum_failures), 0) from pg_stat_database)";

/// The same of MariaDB, which checks its pages by itself when it reads them.
const MARIADB_INTEGRITY: &str = "select @@global.read_only = 0, (select concat(generation, '.', epoch) from portolan.lease)";

/// What is to be shown, and of whom.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) group: Label,
    pub(super) region: Label,
    pub(super) engine: Engine,
    pub(super) address: Address,
    /// The name of its connection string, or of its login; `None`: it has none.
    pub(super) dsn: Option<String>,
    pub(super) steps: Arc<Vec<ValidationStep>>,
    /// Of the grant that it holds.
    pub(super) token: Token,
}

/// Goes through all steps, in order. The first that does not pass in its time ends it: which, and why.
pub(super) async fn run(shared: &Shared, subject: &Subject) -> Result<(), String> {
    for step in subject.steps.iter() {
        let began = Instant::now();
        let mut good_since = None;
        loop {
            let tried = attempt(shared, subject, step).await;
            match &tried {
                Ok(()) => {
                    let since = *good_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= lasting(step) {
                        break;
                    }
                }
                Err(_) => good_since = None,
            }
            if began.elapsed() >= step.timeout {
                let why = tried.err().unwrap_or_else(|| format!("it did not last {}", Human(lasting(step))));
                return Err(format!("{} in {}: {why}", step.name, subject.region));
            }
            sleep(AGAIN).await;
        }
        info!(group = %subject.group, region = %subject.region, "{} is shown", step.name);
    }
    Ok(())
}

const fn lasting(step: &ValidationStep) -> Duration {
    match step.means {
        Means::Figure(_, lasting) => lasting,
        _ => Duration::ZERO,
    }
}

async fn attempt(shared: &Shared, subject: &Subject, step: &ValidationStep) -> Result<(), String> {
    let ask = async |sql: &str| {
        let patience = ASK.min(step.timeout);
        let row = match (subject.engine, subject.dsn.as_deref()) {
            (Engine::Postgresql, Some(dsn)) => probe::inquire(&subject.address, dsn, sql, patience, &shared.probes).await,
            (Engine::Mariadb, Some(dsn)) => probe::inquire_mariadb(&subject.address, dsn, sql, patience, &shared.probes).await,
            _ => return Err("its engine knows no SQL".to_owned()),
        };
        row.map_err(|failure| failure.to_string())
    };
    match &step.means {
        Means::Integrity if matches!(subject.engine, Engine::Redis | Engine::Fake) => {
            let (address, timeout) = (&subject.address, ASK.min(step.timeout));
            let asked = match subject.engine {
                Engine::Redis => probe::redis_token(address, subject.dsn.as_deref(), timeout, &shared.probes).await,
                _ => probe::fake_token(address, timeout, &shared.probes).await,
            };
            let signed = asked.map_err(|failure| failure.to_string())?;
            if signed == Some(subject.token) { Ok(()) } else { Err(format!("it does not bear the token of its grant, {}", subject.token)) }
        }
        Means::Integrity if subject.engine == Engine::Mariadb => {
            let row = ask(MARIADB_INTEGRITY).await?;
            let column = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or("nothing");
            match (column(0), column(1)) {
                ("1", signed) if signed == subject.token.to_string() => Ok(()),
                ("1", signed) => Err(format!("it bears the token {signed}, and its grant's is {}", subject.token)),
                _ => Err("it takes no writes".to_owned()),
            }
        }
        Means::Integrity => {
            let row = ask(INTEGRITY).await?;
            let column = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or("nothing");
            let token = subject.token.to_string();
            match (column(0), column(1), column(2)) {
                ("t", signed, "0") if signed == token => Ok(()),
                ("t", signed, "0") => Err(format!("it bears the token {signed}, and its grant's is {token}")),
                ("t", _, failed) => Err(format!("pages whose checksum failed: {failed}")),
                _ => Err("it takes no writes".to_owned()),
            }
        }
        Means::Sql(sql) => match ask(sql).await?.first() {
            Some(Some(text)) if matches!(text.as_str(), "t" | "true") || text == "1" && subject.engine == Engine::Mariadb => Ok(()),
            Some(Some(text)) => Err(format!("the query says {}, and `true` is wanted", text.chars().take(100).collect::<String>())),
            Some(None) => Err("the query says null, and `true` is wanted".to_owned()),
            None => Err("the query found no row, and `true` is wanted".to_owned()),
        },
        Means::Services => match shared.databases.latest().endpoints_up.get(&subject.region) {
            Some(0) => Err(format!("no endpoint in {} is up", subject.region)),
            // Where no service stands there is nothing to show.
            Some(_) | None => Ok(()),
        },
        Means::Triggers(triggers) => {
            for trigger in triggers {
                quiet(shared, trigger).await?;
            }
            Ok(())
        }
        Means::Figure(trigger, _) => quiet(shared, trigger).await,
        Means::Http(check) => match probe::run(check, &shared.probes).await.map(|seen| seen.outcome) {
            Some(Outcome::Passed) => Ok(()),
            Some(Outcome::Failed(failure)) => Err(failure.to_string()),
            None => Err("it cannot be asked".to_owned()),
        },
        Means::Hook(name) => call(shared, subject, step, name).await,
    }
}

/// The figure of a trigger; why it is unknown, in one line.
pub(super) async fn figure(shared: &Shared, trigger: &Trigger) -> Result<f64, String> {
    let Some(figure) = &trigger.figure else { return Err(format!("`{}` has no signal, so it is unknown", trigger.text)) };
    let asked = probe::figure(&figure.url, &figure.query, figure.secret.as_deref(), ASK, &shared.probes).await;
    asked.map_err(|failure| format!("`{}` is unknown: {failure}", trigger.text))
}

/// A figure that is known, and does not fire.
async fn quiet(shared: &Shared, trigger: &Trigger) -> Result<(), String> {
    let number = figure(shared, trigger).await?;
    match trigger.fires(number) {
        Some(false) => Ok(()),
        Some(true) => Err(format!("`{}` fires: it is {number}", trigger.text)),
        None => Err(format!("`{}` is unknown: the figure is no number", trigger.text)),
    }
}

async fn call(shared: &Shared, subject: &Subject, step: &ValidationStep, name: &str) -> Result<(), String> {
    let (group, region, token) = (subject.group.as_str(), subject.region.as_str(), subject.token.to_string());
    let key = format!("{group}/{token}/validate/{}", step.name);
    let told = [("GROUP", group), ("REGION", region), ("TOKEN", &token), ("STEP", step.name.as_str()), ("KEY", &key)];
    let input = json!({ "verb": "validate", "step": step.name, "group": group, "region": region, "token": token });
    match hooks::call(shared, name, Vec::new(), &told, input, step.timeout).await {
        Answer::Yes(_) => Ok(()),
        Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => Err(why),
    }
}
