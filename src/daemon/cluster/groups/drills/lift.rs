//! Whom a program cut off is let in again by the program beside it, with the token that was agreed for it.

use std::sync::Arc;

use portolan_core::{
    failover::step::Step,
    model::ids::Label,
    recovery::drill::{Cut, DrillStep},
};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::{
    daemon::cluster::{
        Shared,
        groups::{
            hooks::{self, Hooks},
            keep::entry,
        },
    },
    hook::Answer,
    latest::Latest,
};

/// One try. A plan that names no such program any more has nobody to ask: whoever took it out lets the member in.
pub(super) async fn lift(shared: Arc<Shared>, group: Label, cut: Cut, hooks: Arc<Hooks>) {
    let Some(token) = cut.lift else { return };
    let (region, token) = (cut.region.as_str(), token.to_string());
    if let Some(rung) = hooks.rung(&cut.hook)
        && let Some(unfence) = &rung.unfence
    {
        let key = format!("{group}/{token}/unfence/{region}/{}", cut.hook);
        let input = json!({ "verb": "unfence", "group": group, "region": region, "token": token });
        let told = [("VERB", "unfence"), ("GROUP", group.as_str()), ("REGION", region), ("TOKEN", &token), ("KEY", &key)];
        match hooks::call(&shared, unfence, rung.arguments_for(region), &told, input, rung.timeout).await {
            Answer::Yes(_) => info!(%group, region, "hook `{unfence}` let it in again"),
            Answer::Again(why) | Answer::No(why) | Answer::Failed(why) => {
                return warn!(%group, region, "{why}: it is still cut off, and that is tried again");
            }
        }
    }
    let act = Box::new(DrillStep::Lifted { region: cut.region.clone(), hook: cut.hook });
    let state = shared.consensus().standing().latest().state;
    let Some(expected) = state.group(&group).map(|group| group.token) else { return };
    if let Err(why) = shared.propose(entry(&shared, &group, Step::Drill { token: expected, act })).await {
        debug!(%group, region = %cut.region, "that it is let in is not on the record yet: {why}");
    }
}
