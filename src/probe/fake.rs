//! Whether a fake database is a primary that works: it takes writes, and its agent wrote to it lately.

use portolan_core::{
    failover::token::Token,
    model::{
        check::{Address, Failure, FailureCategory},
        time::Human,
    },
};

use super::{
    ProbeEnv,
    metered::Metered,
    open,
    watch::{Mark, Watch},
};
use crate::engine::{
    fake::{Client, Status},
    postgres::HEARTBEAT_STALE,
};

pub(super) async fn probe(address: &Address, env: &ProbeEnv, watch: &Watch) -> Result<(), Failure> {
    match primary(address, env, watch).await?.beat_age() {
        Some(age) if age < HEARTBEAT_STALE => Ok(()),
        Some(age) => Err(Failure::new(FailureCategory::Silent, &format!("its agent wrote to it {} ago", Human(age)))),
        None => Err(Failure::new(FailureCategory::Silent, "no agent has ever written to it")),
    }
}

pub(super) async fn token(address: &Address, env: &ProbeEnv, watch: &Watch) -> Result<Option<Token>, Failure> {
    Ok(primary(address, env, watch).await?.token())
}

async fn primary(address: &Address, env: &ProbeEnv, watch: &Watch) -> Result<Status, Failure> {
    let connection = open::connect(address, env, watch).await?;
    watch.mark(Mark::Asked);
    let mut client = Client::over(Metered::new(connection, watch.clone()));
    let status = client.status().await.map_err(|trouble| Failure::new(FailureCategory::Status, &trouble.0))?;
    if status.is_standby() { Err(Failure::new(FailureCategory::Status, "it is a standby")) } else { Ok(status) }
}
