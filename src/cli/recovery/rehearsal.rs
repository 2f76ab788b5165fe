//! What a switchover or failover would do, as `--dry-run` prints it. Whether it would be accepted is asked after it, by the call itself.

use std::time::Duration;

use portolan_core::model::time::Human;

use super::{GROUPS, full};
use crate::{
    api::proto::{RehearseOperationRequest, RehearseOperationResponse, RehearsedStep},
    cli::{
        Failure,
        desk::Desk,
        render::{
            COLUMNS,
            text::{plain, wrap},
        },
    },
};

/// Where the texts of steps stand.
const INDENT: &str = "     ";

/// What is wanted.
pub(super) struct Wish<'a> {
    pub(super) kind: &'static str,
    pub(super) group: &'a str,
    /// Empty: the best copy.
    pub(super) to: &'a str,
    pub(super) allowed_loss: Option<prost_types::Duration>,
}

/// Prints it.
pub(super) async fn show(desk: &mut Desk<'_>, wish: &Wish<'_>) -> Result<(), Failure> {
    let request = RehearseOperationRequest {
        group: full(GROUPS, wish.group),
        kind: wish.kind.to_owned(),
        to: wish.to.to_owned(),
        allowed_loss: wish.allowed_loss,
    };
    let rehearsed = desk.client().await?.rehearse_operation(request).await?;
    if desk.format.is_data() {
        return desk.message("RehearseOperationResponse", &rehearsed);
    }
    let text = told(wish, &rehearsed);
    desk.print(&text)
}

fn told(wish: &Wish<'_>, rehearsed: &RehearseOperationResponse) -> String {
    let to = if rehearsed.to.is_empty() { "the best copy" } else { &rehearsed.to };
    let title = format!("{} of {} from {} to {to}, by plan revision {}", wish.kind, wish.group, rehearsed.from, rehearsed.plan_revision);
    let mut text = format!("{}\n", plain(&title));
    for (n, step) in rehearsed.steps.iter().enumerate() {
        text.push_str(&line(n + 1, step));
    }
    let time = |time: Option<&prost_types::Duration>| {
        let known = time.and_then(|time| Duration::try_from(*time).ok());
        known.map_or_else(|| "unknown".to_owned(), |time| format!("at most {}", Human(time)))
    };
    let n_agreements = rehearsed.steps.iter().filter(|step| step.lasts == "one agreement").count();
    text.push_str(&format!(
        "until it takes writes: {}; the whole: {}; {n_agreements} agreements not counted\n",
        time(rehearsed.until_writes.as_ref()),
        time(rehearsed.whole.as_ref())
    ));
    text.push_str(&format!("loss: {}\n", plain(&rehearsed.estimate)));
    text.push_str(&format!("plan id: {}; --plan with it does exactly this, or nothing\n", plain(&rehearsed.plan_id)));
    text
}

fn line(n: usize, step: &RehearsedStep) -> String {
    let mark = if step.point_of_no_return { "   POINT OF NO RETURN" } else { "" };
    let head = format!("{n:>3}. {:<9} {:<26} {}{mark}", plain(&step.name), plain(&step.who), plain(&step.lasts));
    let body = wrap(&plain(&step.text), COLUMNS - INDENT.len(), INDENT);
    format!("{}\n{INDENT}{body}\n", head.trim_end())
}
