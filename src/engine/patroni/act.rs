//! The verbs of the contract, as changes of a cluster's configuration. Each returns when Patroni has taken the change; a look shows what came of it.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use portolan_core::failover::token::Token;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use tracing::info;

use super::{
    super::{
        Trouble,
        managed::{Key, Source, Verb},
        postgres::remote,
    },
    Patroni,
    late::Late,
    nobody,
    permit::Permit,
    rest::{self, Rest},
    said::{Configuration, NOTE},
};

/// A slot of the primary's is not for one that may be a standby for a while: whoever has one asks for a server that takes writes, and would not fetch
/// the rest from a region that was fenced.
fn standby_of((host, port): (&str, u16)) -> Value {
    json!({ "host": host, "port": port, "primary_slot_name": null })
}

/// To follow nobody, by this decision.
fn cut(key: &Key) -> Value {
    let (host, port) = nobody(key.token);
    json!({ "standby_cluster": standby_of((&host, port)) })
}

/// What becomes of the permit when nothing speaks against a change, and before it is made.
#[derive(Clone, Copy, Debug)]
enum Permits {
    Allow,
    Forbid,
}

impl Patroni {
    pub(super) async fn make(&self, verb: &Verb, key: &Key) -> Result<(), Trouble> {
        match verb {
            Verb::Fence => {
                // First, and whether Patroni answers or not.
                let forbidden = self.permit.forbid();
                self.change(key, Permits::Forbid, cut(key), Some(true)).await?;
                forbidden
            }
            Verb::Seal => self.change(key, Permits::Forbid, cut(key), None).await,
            // Patroni replays what there is by itself.
            Verb::Drain(_) => Ok(()),
            Verb::Unseal => self.change(key, Permits::Allow, json!({}), Some(false)).await,
            Verb::Promote { above } => {
                self.above.store(*above, Relaxed);
                self.change(key, Permits::Allow, json!({ "standby_cluster": null }), Some(false)).await
            }
            Verb::Verify => self.sign(key).await,
            Verb::Rejoin(source) => {
                self.compare(source).await?;
                let standby = standby_of((&source.host, source.port));
                self.change(key, Permits::Forbid, json!({ "standby_cluster": standby }), Some(false)).await
            }
        }
    }

    /// Changes the configuration. `fenced`: what is noted of that; `None`: what was.
    async fn change(&self, key: &Key, permits: Permits, mut change: Value, fenced: Option<bool>) -> Result<(), Trouble> {
        change[NOTE] = json!({ "generation": key.token.generation, "epoch": key.token.epoch });
        if let Some(fenced) = fenced {
            change[NOTE]["fenced"] = fenced.into();
        }
        let (way, bases, token, key) = (self.way(), self.in_order(), key.token, key.clone());
        let made = async move {
            let mut trouble = None;
            for base in &bases {
                match way.change_at(base, permits, &key, &change).await {
                    Ok(()) => {
                        info!(%key, "Patroni has taken it");
                        return Ok(());
                    }
                    Err(why) => trouble = trouble.or(Some(why)),
                }
            }
            Err(trouble.unwrap_or_else(|| Trouble("no Patroni is configured".to_owned())))
        };
        self.changes.make(made).await?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = token.max(*taken);
        Ok(())
    }

    fn way(&self) -> Way {
        Way { rest: self.rest.clone(), permit: self.permit.clone(), late: Arc::clone(&self.late) }
    }

    /// Writes the token into the primary. One whose timeline another region may have begun, too, is promoted once more first: nobody could tell the
    /// two apart. What was sealed was left by the first promotion then.
    async fn sign(&self, key: &Key) -> Result<(), Trouble> {
        let listed = self.listed().await?;
        let (name, member) =
            listed.iter().find(|(_, member)| member.leads).ok_or_else(|| Trouble("nobody leads the cluster".to_owned()))?;
        let info = self.info(member)?;
        let (remote, above) = (remote::look(&info).await?, self.above.load(Relaxed));
        if let Some(timeline) = remote.timeline.filter(|timeline| !remote.is_standby && *timeline <= above) {
            // Promotions come one after the other, each further on: the first one counts.
            if self.left_by(key.token).is_none() {
                let began = remote::history(&info, timeline).await?.began();
                *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.token, began));
            }
            self.change(key, Permits::Allow, cut(key), None).await?;
            return Err(Trouble(format!(
                "timeline {timeline} of {name} may be another region's, too: it is promoted again, above {above}"
            )));
        }
        remote::sign(&info, key.token, self.left_by(key.token)).await
    }

    /// Where the first of several promotions by this token left what was sealed; `None`: there was one at most.
    fn left_by(&self, token: Token) -> Option<u64> {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.filter(|(by, _)| *by == token).map(|(_, at)| at)
    }

    /// Patroni rewinds where timelines differ, and does not see that lines parted where both have one with the same number.
    async fn compare(&self, source: &Source) -> Result<(), Trouble> {
        let listed = self.listed().await?;
        let Some(member) = listed.values().find(|member| member.leads).or_else(|| listed.values().next()) else { return Ok(()) };
        let info = self.info(member)?;
        let there = self.own.clone().with("host", &source.host).with("port", &source.port.to_string());
        let Some((own, other)) = remote::pair(&info, &there, &source.region).await? else { return Ok(()) };
        let Some(timeline) = own.timeline.filter(|it| *it > 1 && other.timeline == Some(*it)) else { return Ok(()) };
        if remote::history(&info, timeline).await? != remote::history(&there, timeline).await? {
            return Err(Trouble(format!(
                "RECLONE_REQUIRED: its timeline {timeline} is not that of {}, which Patroni does not see: copy its members anew (patronictl reinit)",
                source.region
            )));
        }
        Ok(())
    }
}

/// What a change needs that may outlive whoever asked for it.
struct Way {
    rest: Rest,
    permit: Permit,
    late: Arc<Late>,
}

impl Way {
    /// Changes it through one of its Patronis, unless a higher token did before.
    async fn change_at(&self, base: &Url, permits: Permits, key: &Key, change: &Value) -> Result<(), Trouble> {
        let (status, text) = self.rest.get(base, "/config").await?;
        if status != StatusCode::OK {
            return Err(Trouble(format!("ask Patroni at {base} for /config: {status}")));
        }
        let configuration = Configuration::parse(&text)?;
        let highest = configuration.noted.token();
        if key.token < highest {
            return Err(Trouble(format!("{key} is refused: {highest} was there before")));
        }
        let status = match permits {
            Permits::Allow => {
                self.permit.allow(key.token)?;
                self.late.begins(base)?;
                let status = self.rest.patch(base, change).await?;
                self.late.answered(base)?;
                status
            }
            Permits::Forbid => {
                self.permit.forbid()?;
                self.rest.patch(base, change).await?
            }
        };
        rest::taken(base, status)?;
        if configuration.is_paused {
            return Err(Trouble("its Patroni is paused, and does nothing of what it is told: patronictl resume".to_owned()));
        }
        Ok(())
    }
}
