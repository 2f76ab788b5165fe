//! The server's slots that are made here, and the one that it receives by: looked at with everything else, and changed as the core says.

use portolan_core::{
    failover::engine::postgres::{Change, SLOT_PREFIX, Settings, Slot, Upstream, changes, to_name},
    model::ids::Label,
};
use tokio_postgres::Client;
use tracing::{debug, info};

use super::{Postgres, Trouble, connect::told, look::get};

const SLOTS: &str = "select slot_name::text, active, coalesce(wal_status = 'lost', false), \
    coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn), 0)::bigint \
    from pg_replication_slots where slot_type = 'physical' and starts_with(slot_name::text, $1)";

/// From the moment that it is made it keeps the log: whoever it is for may be away.
const MAKE: &str = "select pg_create_physical_replication_slot($1, true)";

const DROP: &str = "select pg_drop_replication_slot($1)";

/// What a look saw of a server that its slots depend on.
pub(super) struct Scene<'a> {
    /// It takes writes and bears a token, or it is a standby; `None`: neither.
    pub(super) leads: Option<bool>,
    /// Whom it receives from.
    pub(super) upstream: &'a Upstream,
    /// How it is set; `None`: it does not say.
    pub(super) settings: Option<&'a Settings>,
    /// Its slots.
    pub(super) slots: &'a [Slot],
}

/// Those whose names say that they are made here.
pub(super) async fn slots(client: &Client) -> Result<Vec<Slot>, Trouble> {
    let rows = client.query(SLOTS, &[&SLOT_PREFIX]).await.map_err(|error| told(&error))?;
    let slot = |row: &tokio_postgres::Row| {
        let keeps = u64::try_from(get::<i64>(row, 3)?).unwrap_or(0);
        Ok(Slot { name: get(row, 0)?, is_active: get(row, 1)?, is_lost: get(row, 2)?, keeps })
    };
    rows.iter().map(slot).collect()
}

impl Postgres {
    /// Makes and drops slots, and names the one to receive by, as they are to be now. What fails is tried at the next look.
    pub(super) async fn tend_slots(&self, client: &Client, scene: Scene<'_>) {
        let (Some(leads), Some(settings)) = (scene.leads, scene.settings) else { return };
        let others: Vec<Label> = {
            let members = self.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            members.keys().filter(|region| **region != self.setup.region).cloned().collect()
        };
        for change in changes(scene.slots, &others, leads, settings.slots_keep.is_some()) {
            let (sql, name) = match &change {
                Change::Make(name) => (MAKE, name),
                Change::Drop(name) => (DROP, name),
            };
            match client.execute(sql, &[name]).await {
                Ok(_) => info!("{change:?}: done"),
                Err(error) => debug!("{change:?}: {}", told(&error)),
            }
        }
        let Upstream::Member(region) = scene.upstream else { return };
        if !leads && let Err(why) = self.name_slot(client, region).await {
            debug!("the slot to receive by: {why}");
        }
    }

    /// A standby that receives already goes on by its slot, when the primary has one; by none, when it has not.
    async fn name_slot(&self, client: &Client, primary: &Label) -> Result<(), Trouble> {
        let others = self.others();
        let Some(Ok(peer)) = others.get(primary) else { return Ok(()) };
        let row = client.query_one("select current_setting('primary_slot_name')", &[]).await.map_err(|error| told(&error))?;
        let Some(name) = to_name(&self.setup.region, &get::<String>(&row, 0)?, peer.has_slot) else { return Ok(()) };
        self.set(&[("primary_slot_name", &name)])?;
        client.batch_execute("select pg_reload_conf()").await.map_err(|error| told(&error))?;
        info!(slot = name, "it receives by another slot from now on");
        Ok(())
    }
}
